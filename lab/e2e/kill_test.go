//go:build qemu

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// stages names what a request has come to so far, in order: STEP, and
// STEP/PHASE for each phase of it. Cleaning up is not among them.
func stages(r client.Request) (all []string) {
	for _, s := range r.Steps {
		if s.Status == "queued" || s.Undo {
			continue
		}
		all = append(all, s.Name)
		for _, ph := range s.Phases {
			all = append(all, s.Name+"/"+ph.Name)
		}
	}
	return all
}

// reached returns the newest stage that a request has come to.
func reached(r client.Request) string {
	all := stages(r)
	if len(all) == 0 || r.Ended() {
		return ""
	}
	return all[len(all)-1]
}

// wantRight fails unless a deployed machine is what was asked for, on the
// network and on its disk, and nothing has it any more.
func wantRight(t *testing.T, p *pod, name, hostname string) {
	t.Helper()
	m := p.machine(t, name)
	if m.Status.State != "active" || m.Lock != "" || m.Server == nil {
		t.Fatalf("%s is %s, with request %q: %s", name, m.Status.State, m.Lock, m.Status.Reason)
	}
	if got := p.shell(t, m, "hostname; sync"); got != hostname {
		t.Errorf("%s has the hostname %q, want %q", name, got, hostname)
	}
	if same := readMini(t).equal(t, p.rootDisk(name, m)); same < 0.97 {
		t.Errorf("%s: %.1f %% of the image's blocks are on its disk", name, 100*same)
	}
}

// TestApplianceDies kills the appliance in every phase of one deployment. The
// deployment ends as if nothing had been.
func TestApplianceDies(t *testing.T) {
	t.Parallel()
	p := newPod(t, "ak", "boot: 2m, verify: 3m, agent_lost: 20s", small("m1"))
	p.importMini(t)
	p.accept(t, "m1")
	var killed []string
	r := p.wait(t, p.ask(t, "m1", "deploy", p.deployment("phoenix")).ID, func(now client.Request) {
		at := reached(now)
		if at == "" || slices.Contains(killed, at) {
			return
		}
		killed = append(killed, at)
		if err := p.KillAppliance(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.StartAppliance(); err != nil {
			t.Fatal(err)
		}
		p.ready(t)
	})
	t.Logf("the appliance was killed %d times: %s", len(killed), strings.Join(killed, ", "))
	if r.Status != "done" {
		t.Fatalf("the deployment is %s: %+v", r.Status, r.Error)
	}
	for _, want := range []string{"boot/firmware", "boot/kernel|boot/initrd", "image/write", "image/grow|image/configure", "verify"} {
		if !slices.ContainsFunc(strings.Split(want, "|"), func(s string) bool { return slices.Contains(killed, s) }) {
			t.Errorf("it was not killed in %s", want)
		}
	}
	wantRight(t, p, "m1", "phoenix")
}

// TestMachineDies kills the machine in every phase of its deployment: QEMU is
// gone, its outlet still on. What is tried again ends active, what is not ends
// wiped.
func TestMachineDies(t *testing.T) {
	t.Parallel()
	p := newPod(t, "mk", "boot: 45s, verify: 45s, agent_lost: 10s",
		small("m1"), small("m2"))
	p.importMini(t)
	t.Run("machines", func(t *testing.T) {
		t.Run("early", func(t *testing.T) {
			t.Parallel()
			p.accept(t, "m1")
			dies(t, p, "m1", "boot/power", "boot/kernel|boot/initrd", "image/disk|image/write", "image/configure")
			wantRight(t, p, "m1", "phoenix")
		})
		t.Run("late", func(t *testing.T) {
			t.Parallel()
			p.accept(t, "m2")
			dies(t, p, "m2", "boot/firmware", "image/write", "image/grow|image/configure", "restart")
			wantRight(t, p, "m2", "phoenix")
			p.do(t, "m2", "release", nil)
			r := dies(t, p, "m2", "verify")
			if m := p.machine(t, "m2"); r.Code() != "no-server" || m.Status.State != "available" || m.Dirty || m.Lock != "" {
				t.Errorf("dead while it was verified: request %s (%s), machine %s, dirty %v, lock %q", r.Status, r.Code(), m.Status.State, m.Dirty, m.Lock)
			}
			if nonzero, _ := readMini(t).holds(t, p.Machine("m2").DiskPath(0), ""); nonzero > 0 {
				t.Errorf("dead while it was verified: %d blocks of its disk are not zero", nonzero)
			}
		})
	})
}

// dies deploys a machine and kills it at the first stage of each of the given
// alternatives. It fails the test if one never came.
func dies(t *testing.T, p *pod, name string, at ...string) client.Request {
	t.Helper()
	left := at
	r := p.wait(t, p.ask(t, name, "deploy", p.deployment("phoenix")).ID, func(now client.Request) {
		if len(left) == 0 || !slices.Contains(strings.Split(left[0], "|"), reached(now)) {
			return
		}
		kill(t, p, name)
		t.Logf("%s was killed in %s", name, reached(now))
		left = left[1:]
	})
	if len(left) > 0 {
		t.Errorf("%s was not killed in %q", name, left)
	}
	for _, s := range r.Steps {
		t.Logf("%s: step %s (undo %v) is %s after %d attempts", name, s.Name, s.Undo, s.Status, s.Attempt)
	}
	return r
}

// kill kills a machine as soon as it runs.
func kill(t *testing.T, p *pod, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := p.Machine(name).Wait(ctx, func(s machine.Status) bool { return s.State == machine.On }); err != nil {
		t.Fatal(err)
	}
	if err := p.Machine(name).Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Machine(name).Wait(ctx, func(s machine.Status) bool { return s.State != machine.On }); err != nil {
		t.Fatal(err)
	}
}
