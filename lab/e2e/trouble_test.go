//go:build qemu

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/machine"
)

// TestAlteredImage flips one bit of an image in the library: no machine gets it,
// the machine that was to is wiped and free again, and someone is told of the
// image.
func TestAlteredImage(t *testing.T) {
	t.Parallel()
	p := newPod(t, "fl", "boot: 2m, verify: 2m", small("m1"))
	img := p.importMini(t)
	path := filepath.Join(p.Config().StateDir, "appliance", "images", "images", img.Digest, "data")
	flip(t, path)
	p.accept(t, "m1")
	r := p.wait(t, p.ask(t, "m1", "deploy", p.deployment("host")).ID, nil)
	if r.Status != "failed" || r.Code() != "image-digest" {
		t.Errorf("the deployment is %s: %+v", r.Status, r.Error)
	}
	wantEmpty(t, p, "m1")
	p.wantAlert(t, "image/mini:1", "image-digest")
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, st.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, st.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// TestPowerTrouble has an outlet that cannot be read, one that never moves, and
// a machine whose firmware hangs. Each ends, with an alert, and nothing is
// switched that is not known; the one that hangs is left without power.
func TestPowerTrouble(t *testing.T) {
	t.Parallel()
	p := newPod(t, "bd", "boot: 6s, outlet_settle: 4s",
		machine.Spec{Name: "unknown"}, machine.Spec{Name: "dead"}, machine.Spec{Name: "hung"})
	for _, f := range []lab.Fault{{Kind: lab.UnknownOutlet, Target: "1"}, {Kind: lab.DeadOutlet, Target: "2"}, {Kind: lab.HungFirmware, Target: "hung"}} {
		if err := p.Break(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		machine, code, says string
		sets                []string // that the PDU may hear
		attempts            int
	}{
		{"unknown", "outlet-unknown", "not known", nil, 1},
		{"dead", "outlet", "told to go on", []string{"on"}, 1},
		{"hung", "no-boot", "nothing was seen of it", []string{"on", "off", "on", "off", "on", "off"}, 3},
	}
	t.Run("machines", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.machine, func(t *testing.T) {
				t.Parallel()
				m := p.accept(t, tt.machine)
				if m.Status.State != "broken" || m.Lock != "" {
					t.Errorf("the machine is %s, with request %q", m.Status.State, m.Lock)
				}
				p.wantAlert(t, "machine/"+tt.machine, tt.code)
				list, err := p.api.Requests(t.Context(), tt.machine, 10)
				if err != nil || len(list) != 1 {
					t.Fatalf("requests %+v, %v; want one", list, err)
				}
				r := list[0]
				if r.Status != "failed" || r.Code() != tt.code || !strings.Contains(r.Error.Detail, tt.says) {
					t.Errorf("the request is %s: %+v", r.Status, r.Error)
				}
				if got := r.Steps[0].Attempt; got != tt.attempts {
					t.Errorf("it was tried %d times, want %d", got, tt.attempts)
				}
				sets := slices.DeleteFunc(p.trace.of(p.outlet(tt.machine), 0), func(s string) bool { return s == "get" })
				if !slices.Equal(sets, tt.sets) {
					t.Errorf("the PDU was told %q, want %q", sets, tt.sets)
				}
			})
		}
	})
}
