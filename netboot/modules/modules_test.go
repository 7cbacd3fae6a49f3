package modules

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func testFS(t *testing.T, mods ...Module) fstest.MapFS {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	out := fstest.MapFS{path.Join(Dir, IndexName): {Data: NewIndex(mods).Encode()}}
	for _, m := range mods {
		out[path.Join(Dir, m.Name+".ko.zst")] = &fstest.MapFile{Data: w.EncodeAll([]byte(m.Name), nil)}
	}
	return out
}

// Many devices that need the same modules: each module is inserted once, after
// all that it needs, and nobody returns before it is there.
func TestLoadInOrderOnce(t *testing.T) {
	fsys := testFS(t, Module{Name: "a", Needs: []string{"b", "c"}}, Module{Name: "b", Needs: []string{"d"}}, Module{Name: "c", Needs: []string{"d"}, Soft: []string{"gone"}}, Module{Name: "d"})
	var mu sync.Mutex
	var got []string
	l, err := Open(fsys, func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, m := range []string{"a", "b", "c", "a", "d"} {
		wg.Go(func() {
			if err := l.Load(m); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(got, m) {
				t.Errorf("%s returned before it was there", m)
			}
		})
	}
	wg.Wait()
	at := func(m string) int { return slices.Index(got, m) }
	if len(got) != 4 || at("d") > at("b") || at("d") > at("c") || at("b") > at("a") || at("c") > at("a") {
		t.Errorf("%v", got)
	}
	if err := l.Load("no-such"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestIndexRoundTrip(t *testing.T) {
	ix := NewIndex([]Module{{Name: "virtio-net", Needs: []string{"virtio"}, Aliases: []string{"virtio:d00000001v*"}}, {Name: "virtio", Soft: []string{"x"}}})
	got, err := ParseIndex(ix.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ix.Modules, got.Modules); d != "" {
		t.Error(d)
	}
	if m := got.Match("virtio:d00000001v00001AF4"); !slices.Equal(m, []string{"virtio_net"}) {
		t.Error(m)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		p, s string
		want bool
	}{
		{"pci:v00008086d0000100Esv*sd*bc*sc*i*", "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", true},
		{"pci:v00008086d0000100Esv*sd*bc*sc*i*", "pci:v00008086d0000100Fsv00001AF4sd00001100bc02sc00i00", false},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"usb:v0B95p7[0-9A-C]*", "usb:v0B95p7B1", true}, {"usb:v0B95p7[0-9A-C]*", "usb:v0B95p7D1", false},
		{"a*b?c", "aXXbYbZc", true}, {"*", "", true}, {"?", "", false}, {"[", "[", true}, {"a**", "a", true},
	} {
		if got := glob(c.p, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.p, c.s, got)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("m a b,c -\na pci:*\n"), "pci:x")
	f.Fuzz(func(t *testing.T, b []byte, s string) {
		ix, err := ParseIndex(b)
		if err != nil {
			return
		}
		ix.Match(s)
		if _, err := ParseIndex(ix.Encode()); err != nil {
			t.Fatalf("its own encoding: %v", err)
		}
	})
}
