//go:build qemu

package e2e

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// patience bounds one request on machines that are emulated and share two
// processors with others.
const patience = 8 * time.Minute

// TestMain has more tests side by side than there are processors: much of a
// machine's time is somebody's timeout.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", "4") // it is one of package testing's
	}
	os.Exit(m.Run())
}

// pod is a lab with an appliance in it that is ready.
type pod struct {
	*lab.Lab
	api   *client.Client
	trace *trace
	login login
}

// pduDelay is longer than the appliance's first questions after a command take,
// so that it has to wait while the outlet says that the command is pending.
const pduDelay = 700 * time.Millisecond

// newPod brings up a pod that is gone when the test ends. letter tells it from
// the other pods of this process and has at most two letters, as a lab.s name is
// short; times is YAML of the appliance's `times`.
func newPod(t *testing.T, letter, times string, machines ...machine.Spec) *pod {
	t.Helper()
	p := &pod{trace: &trace{}, login: newLogin(t)}
	var err error
	p.Lab, err = lab.Up(t.Context(), lab.Config{
		Name: fmt.Sprintf("%s%d", letter, os.Getpid()%1e6), StateDir: t.TempDir(), Machines: machines,
		Appliance: built(t, "bin/gantry-appliance"), Netboot: filepath.Dir(built(t, "netboot/initrd.img")),
		ApplianceExtra: "times: {lldp: 0s, outlet_off_for: 200ms, " + times + "}\n",
		PDUDelay:       pduDelay,
		PDUTrace:       p.trace.add, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("appliance.log ends with:\n%s", tail(filepath.Join(p.Config().StateDir, "appliance.log"), 6000))
			for _, m := range p.Machines() {
				text := m.Console().Text()
				t.Logf("the console of %s ends with:\n%s", m.Spec().Name, text[max(0, len(text)-2000):])
			}
		}
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	p.api = client.New(p.ApplianceSocket())
	p.ready(t)
	return p
}

// built is the path of something that `make build` makes.
func built(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(filepath.Join("../../build", path))
	if err == nil {
		_, err = os.Stat(full)
	}
	if err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return full
}

func tail(path string, n int) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-n):]
}

// ready waits until the appliance is.
func (p *pod) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.api.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// importMini puts the small image into the library.
func (p *pod) importMini(t *testing.T) client.Image {
	t.Helper()
	img, err := p.api.Import(t.Context(), built(t, "images/mini.raw"), "mini", "1")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// accept vouches for a machine and returns it when it was inspected, or was not
// to be.
func (p *pod) accept(t *testing.T, name string) client.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.api.Call(ctx, http.MethodPost, "/v1/machines/"+name+"/accept", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := p.api.Settled(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ask gives a request without waiting for it.
func (p *pod) ask(t *testing.T, name, verb string, spec any) client.Request {
	t.Helper()
	r, err := p.api.Submit(t.Context(), name, verb, spec, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wait follows a request to its end.
func (p *pod) wait(t *testing.T, id string, see func(client.Request)) client.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := p.api.Wait(ctx, id, see)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// do gives a request and fails the test unless it is done.
func (p *pod) do(t *testing.T, name, verb string, spec any) client.Machine {
	t.Helper()
	began := time.Now()
	r := p.wait(t, p.ask(t, name, verb, spec).ID, nil)
	if r.Status != "done" {
		t.Fatalf("%s of %s is %s: %+v", verb, name, r.Status, r.Error)
	}
	t.Logf("%s of %s took %v", verb, name, time.Since(began).Round(100*time.Millisecond))
	return p.machine(t, name)
}

func (p *pod) machine(t *testing.T, name string) client.Machine {
	t.Helper()
	m, err := p.api.Machine(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// deployment is what is asked for of a machine of the tests.
func (p *pod) deployment(hostname string) map[string]any {
	return map[string]any{"image": "mini", "hostname": hostname, "ssh_keys": []string{p.login.public}}
}

// wantAlert fails unless an alert of that code is open about the subject, such
// as machine/m1.
func (p *pod) wantAlert(t *testing.T, subject, code string) {
	t.Helper()
	all, err := p.api.Alerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Code == code && a.Subject == subject {
			return
		}
	}
	t.Errorf("no alert %q about %s; there are %+v", code, subject, all)
}

// outlet is the number of the one outlet that feeds a machine.
func (p *pod) outlet(name string) int { return p.Machine(name).Spec().Outlets[0] }

// small is a machine that is quickly wiped and read back.
func small(name string) machine.Spec {
	return machine.Spec{Name: name, CPUs: 1, MemoryMiB: 768, Disks: []machine.Disk{{Bytes: 512 << 20}}}
}

// smallUEFI is a small machine with the other firmware.
func smallUEFI(name string) machine.Spec {
	s := small(name)
	s.Firmware, s.MemoryMiB = machine.UEFI, 1024
	return s
}
