package host

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBackoff follows a driver that fails, recovers and fails again.
func TestBackoff(t *testing.T) {
	t.Parallel()
	b := backoff{first: time.Second, most: 5 * time.Second, breakAfter: 5, cooldown: time.Minute}
	type step struct {
		Ran, Wait time.Duration
		Open      bool
	}
	want := []step{
		{0, time.Second, false},
		{0, 2 * time.Second, false},
		{0, 4 * time.Second, false},
		{0, 5 * time.Second, false},
		{0, time.Minute, true},
		{30 * time.Second, time.Minute, true},
		{recovered, time.Second, false},
	}
	for i, w := range want {
		wait, open := b.failed(w.Ran)
		if diff := cmp.Diff(w, step{w.Ran, wait, open}); diff != "" {
			t.Errorf("failure %d (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestLogSink passes levels and attributes on, and no more lines than it may.
func TestLogSink(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(0, 0)
	s := newLogSink(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), 1)
	s.now, s.filled = func() time.Time { return now }, now
	s.line(`{"time":"x","level":"ERROR","msg":"outlet stuck","outlet":7}`)
	s.line("plain text")
	s.line(`{"level":3}`)
	s.line(strings.Repeat("long", maxAttr))
	s.line("one too many")
	s.line("two too many")
	now = now.Add(time.Second)
	s.line("again")
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`level=ERROR msg="driver says" line.text="outlet stuck" line.outlet=7`,
		`level=INFO msg="driver says" text="plain text"`,
		`level=INFO msg="driver says"`,
		`level=INFO msg="driver says" text=` + strings.Repeat("long", maxAttr/4) + "…",
		`level=WARN msg="driver logs too much, lines were dropped" dropped=2`,
		`level=INFO msg="driver says" text=again`,
	}
	if len(got) > 0 && strings.Contains(got[0], `line.outlet=7 line.text`) { // attributes come from a map
		want[0] = `level=ERROR msg="driver says" line.outlet=7 line.text="outlet stuck"`
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzPins reads any list without panic, and never takes a wrong digest.
func FuzzPins(f *testing.F) {
	f.Add([]byte(strings.Repeat("ab", 32) + "  gantry-driver-x\n"))
	f.Add([]byte(strings.Repeat("00", 32) + " *./gantry-driver-y\n\n"))
	f.Add([]byte("short  gantry-driver-z"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parsePins(raw)
		for name, sum := range list {
			if err == nil && (len(sum) != 32 || name == "") {
				t.Errorf("%q is pinned to %x", name, sum)
			}
		}
	})
}

// FuzzLogLine takes any line a driver prints.
func FuzzLogLine(f *testing.F) {
	f.Add(`{"time":"x","level":"ERROR","msg":"m","a":{"b":[1,null]}}`)
	f.Add(`{"level":"no such level","msg":7}`)
	f.Add("1|1|unix|/tmp/x|grpc|abc")
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		newLogSink(slog.New(slog.NewTextHandler(&out, nil)), 1).line(line)
		if strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%q makes more than one line: %s", line, out.String())
		}
	})
}

// FuzzConfig checks any configuration against a schema: whatever its values
// are, they are not quoted.
func FuzzConfig(f *testing.F) {
	checker, err := newConfigChecker([]byte(testSchema))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("secret-word", "secret")
	f.Add("", "low")
	f.Fuzz(func(t *testing.T, password, level string) {
		config, err := json.Marshal(map[string]any{"password": "\x00" + password, "level": "\x00" + level})
		if err != nil {
			t.Fatal(err)
		}
		if err := checker.check(config); err == nil || strings.Contains(err.Error(), "\x00") {
			t.Errorf("a level that is not in the schema gives %v", err)
		}
	})
}
