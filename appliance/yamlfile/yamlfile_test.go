package yamlfile

import (
	"strings"
	"testing"
	"time"
)

type thing struct {
	Name string         `yaml:"name"`
	Many []string       `yaml:"many"`
	Any  map[string]any `yaml:"any"`
}

func TestDecode(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string // of the error; nil is none
	}{
		"empty":           {"", nil},
		"comment":         {"# nothing\n", nil},
		"good":            {"name: x\nmany: [a, b]\n", nil},
		"unknown key":     {"name: x\nnam: y\n", []string{"[2:1]", `"nam"`}},
		"key twice":       {"name: x\nname: y\n", []string{"[2:1]", "already defined"}},
		"wrong type":      {"many: {a: b}\n", []string{"[1:"}},
		"second document": {"name: x\n---\nname: y\n", []string{"more than one"}},
		"not YAML":        {"name: [", []string{"[1:"}},
		"panics":          {"any: {0}\nmany: !00\n00000000000000", []string{"not YAML"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := thing{Name: "default"}
			err := Decode([]byte(c.in), &v)
			if (err != nil) != (c.want != nil) {
				t.Fatalf("%+v, %v", v, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if empty := name == "empty" || name == "comment"; empty && v.Name != "default" {
				t.Errorf("an empty file changed the default to %q", v.Name)
			}
		})
	}
}

// TestQuote: no error shows what the file says, as secrets may be beside it.
func TestQuote(t *testing.T) {
	const file = "any: {password: s3cret}\nnam: x\n"
	if err := Decode([]byte(file), new(thing)); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("quoted: %v", err)
	}
}

// FuzzDecode holds that nothing makes the decoder fall over or linger.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "name: x", "a: &a [*a]", "any: {a: &a {b: c}, d: *a}", "!!binary x", "? [a]\n: b", "---\n...\n---\n", "<<: {name: x}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		began := time.Now()
		if err := Decode(b, new(thing)); err == nil && len(b) < 4 && strings.TrimSpace(string(b)) != "" && b[0] != '#' {
			t.Logf("accepted %q", b)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%d bytes took %v", len(b), d)
		}
	})
}
