//go:build qemu

package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// stages names what a request has come to so far, in order: STEP/PHASE for each
// phase of a step, and STEP for one without phases, each once. Cleaning up is
// not among them.
func stages(r client.Request) (all []string) {
	for _, s := range r.Steps {
		if s.Status == "queued" || s.Undo {
			continue
		}
		for _, ph := range s.Phases {
			if stage := s.Name + "/" + ph.Name; !slices.Contains(all, stage) {
				all = append(all, stage)
			}
		}
		if len(s.Phases) == 0 {
			all = append(all, s.Name)
		}
	}
	return all
}

// reached returns the stage that a request is in.
func reached(r client.Request) (stage string) {
	if r.Ended() {
		return ""
	}
	for _, s := range r.Steps {
		if s.Status == "queued" || s.Undo {
			continue
		}
		stage = s.Name
		if n := len(s.Phases); n > 0 {
			stage += "/" + s.Phases[n-1].Name
		}
	}
	return stage
}

// stalk follows a request to its end and strikes at each of the stages once,
// when it is seen there first. It returns those that it never saw.
func (p *pod) stalk(t *testing.T, id string, at []string, strike func(stage string)) (r client.Request, left []string) {
	t.Helper()
	left = slices.Clone(at)
	for until := time.Now().Add(patience); ; {
		now, err := p.api.Request(t.Context(), id)
		var refused *client.Refused
		switch {
		case errors.As(err, &refused), time.Now().After(until):
			t.Fatalf("request %s: %s of %s is %s at %q: %v", id, r.Kind, r.Machine, r.Status, reached(r), err)
		case err == nil:
			r = now
			if i := slices.Index(left, reached(r)); i >= 0 {
				left = slices.Delete(left, i, i+1)
				strike(reached(r))
			}
			if r.Ended() {
				return r, left
			}
		}
		pause := 20 * time.Millisecond
		switch {
		case len(left) > 0 && !strings.Contains(reached(r), "/"):
			pause = 0 // the next stage may be one of a few commits
		case len(left) > 0:
			pause = 2 * time.Millisecond
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(pause):
		}
	}
}

// last is the newest request of a machine.
func (p *pod) last(t *testing.T, name string) client.Request {
	t.Helper()
	list, err := p.api.Requests(t.Context(), name, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("requests of %s: %+v, %v; want one", name, list, err)
	}
	return list[0]
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

// wantEmpty fails unless a machine is available, off, and nothing is on its disk.
func wantEmpty(t *testing.T, p *pod, name string) {
	t.Helper()
	m := p.machine(t, name)
	if m.Status.State != "available" || m.Dirty || m.Lock != "" || m.Server != nil {
		t.Errorf("%s is %s, dirty %v, with request %q: %s", name, m.Status.State, m.Dirty, m.Lock, m.Status.Reason)
	}
	if nonzero, _ := readMini(t).holds(t, p.Machine(name).DiskPath(0), ""); nonzero > 0 {
		t.Errorf("%s: %d blocks of its disk are not zero", name, nonzero)
	}
	if p.Outlet(p.outlet(name)).On() {
		t.Errorf("%s was left switched on", name)
	}
}

// killAppliance kills the appliance and starts it again.
func (p *pod) killAppliance(t *testing.T) {
	t.Helper()
	if err := p.KillAppliance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.StartAppliance(); err != nil {
		t.Fatal(err)
	}
	p.ready(t)
}

// TestApplianceDies kills the appliance in every stage of an inspection, of a
// deployment and of a release. Each ends as if nothing had been. The stages are
// those of requests that nobody disturbed.
func TestApplianceDies(t *testing.T) {
	t.Parallel()
	p := newPod(t, "ak", "boot: 2m, verify: 3m, agent_lost: 20s", small("m1"))
	p.importMini(t)
	p.accept(t, "m1")
	whole := map[string][]string{"inspect": stages(p.last(t, "m1"))}
	for _, verb := range []string{"deploy", "release"} {
		p.do(t, "m1", verb, map[string]any{"deploy": p.deployment("phoenix")}[verb])
		whole[verb] = stages(p.last(t, "m1"))
	}
	// Only a machine's first deployment erases: TestApplianceDiesUEFI's is one.
	whole["deploy"] = slices.DeleteFunc(whole["deploy"], func(s string) bool { return strings.HasPrefix(s, "erase") })
	survive := func(verb string, spec any) {
		t.Helper()
		r, left := p.stalk(t, p.ask(t, "m1", verb, spec).ID, whole[verb], func(string) { p.killAppliance(t) })
		t.Logf("%s: the appliance was killed in %d of %q", verb, len(whole[verb])-len(left), whole[verb])
		if r.Status != "done" {
			t.Fatalf("the %s is %s: %+v", verb, r.Status, r.Error)
		}
		whole[verb] = left
	}
	// A stage of a few commits may pass between two looks: it gets more chances.
	for range 3 {
		survive("inspect", nil)
		survive("deploy", p.deployment("phoenix"))
		wantRight(t, p, "m1", "phoenix")
		survive("release", nil)
		wantEmpty(t, p, "m1")
		if len(whole["inspect"])+len(whole["deploy"])+len(whole["release"]) == 0 {
			return
		}
	}
	t.Errorf("it was not killed in %q", whole)
}

// TestApplianceDiesUEFI kills it in every stage of a deployment of a machine
// with the other firmware, which boots from the network by HTTP.
func TestApplianceDiesUEFI(t *testing.T) {
	t.Parallel()
	spec := smallUEFI("u1")
	spec.HTTPBoot = true
	p := newPod(t, "au", "boot: 2m, verify: 3m, agent_lost: 20s", spec)
	p.importMini(t)
	p.accept(t, "u1")
	var seen []string
	r := p.wait(t, p.ask(t, "u1", "deploy", p.deployment("phoenix")).ID, func(now client.Request) {
		if at := reached(now); at != "" && !slices.Contains(seen, at) {
			seen = append(seen, at)
			p.killAppliance(t)
		}
	})
	t.Logf("the appliance was killed in %q", seen)
	if r.Status != "done" {
		t.Fatalf("the deployment is %s: %+v", r.Status, r.Error)
	}
	for _, want := range []string{"boot/firmware", "boot/kernel", "image/write", "image/configure", "verify"} {
		if !slices.Contains(seen, want) {
			t.Errorf("it was not killed in %s", want)
		}
	}
	wantRight(t, p, "u1", "phoenix")
	if text := p.Machine("u1").Console().Text(); !strings.Contains(text, "UEFI HTTPv4") || strings.Contains(text, "UEFI PXEv4") {
		t.Errorf("it did not boot by HTTP: %.2000q", text)
	}
}

// halfWritten is the stage in which a part of the image is on the disk: each
// chunk is read back as soon as it was written, so reading back is in it.
const halfWritten = "image/write half done"

// TestMachineDies kills machines in every stage of a deployment, in an
// inspection and in the wipe of a release: QEMU is gone, its outlet still on.
// What is tried again ends as it should, what is not ends wiped.
func TestMachineDies(t *testing.T) {
	t.Parallel()
	p := newPod(t, "mk", "boot: 55s, verify: 110s, agent_lost: 15s", small("m1"), small("m2"), small("m3"), smallUEFI("u1"))
	p.importMini(t)
	var whole []string // the stages of a deployment that nobody disturbed
	t.Run("before", func(t *testing.T) {
		t.Run("m1", func(t *testing.T) {
			t.Parallel()
			p.acceptDying(t, "m1", "inspect/inspect")
			p.do(t, "m1", "deploy", p.deployment("phoenix"))
			whole = stages(p.last(t, "m1"))
		})
		for _, name := range []string{"m2", "m3", "u1"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p.accept(t, name)
			})
		}
	})
	if !slices.Contains(whole, "image/write") {
		t.Fatalf("a deployment has the stages %q", whole)
	}
	shares := share(append(whole, halfWritten))
	t.Run("machines", func(t *testing.T) {
		t.Run("m1", func(t *testing.T) {
			t.Parallel()
			p.dies(t, "m1", "release", "wipe/wipe")
			wantEmpty(t, p, "m1")
			p.deployDying(t, "m1", shares[0])
		})
		for i, name := range []string{"m2", "m3"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p.deployDying(t, name, shares[i+1])
			})
		}
		t.Run("u1", func(t *testing.T) {
			t.Parallel()
			p.deployDying(t, "u1", []string{"boot/firmware", "image/write"})
		})
	})
}

// share deals a deployment's stages out to three machines: a step is tried three
// times, so that a machine may die in two stages of it. Who dies when its disk
// was handed over is not tried again. The first machine was wiped before, and is
// not erased.
func share(whole []string) (all [3][]string) {
	dealt, late := map[string]int{}, map[string]int{"erase": 1, "restart": 0, "activate": 1, "verify": 2}
	for _, stage := range whole {
		step, _, _ := strings.Cut(stage, "/")
		i, ok := late[step]
		if !ok {
			i = dealt[step] / 2 % len(all)
			dealt[step]++
		}
		all[i] = append(all[i], stage)
	}
	return all
}

// deployDying deploys a machine that dies in each of the stages. It ends as was
// asked for, or, if it dies after its disk was handed over, perhaps wiped.
func (p *pod) deployDying(t *testing.T, name string, at []string) {
	t.Helper()
	// A machine that is activated has proved itself already, and is not asked again.
	activate := func(s string) bool { return s == "activate" }
	r := p.dies(t, name, "deploy", slices.DeleteFunc(slices.Clone(at), activate)...)
	late := func(s string) bool { return s == "restart" || s == "verify" }
	switch {
	case r.Status == "done":
		if slices.ContainsFunc(at, activate) {
			kill(t, p, name)
			t.Logf("%s was killed when it was activated", name)
			p.do(t, name, "restart", nil)
		}
		wantRight(t, p, name, "phoenix")
	case slices.ContainsFunc(at, late) && r.Code() == "no-server":
		wantEmpty(t, p, name)
	default:
		t.Errorf("%s: the deployment is %s: %+v", name, r.Status, r.Error)
	}
}

// acceptDying vouches for a machine that dies while it is inspected.
func (p *pod) acceptDying(t *testing.T, name string, at ...string) {
	t.Helper()
	if err := p.api.Call(t.Context(), "POST", "/v1/machines/"+name+"/accept", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	r := p.diesIn(t, name, p.last(t, name), at)
	if m := p.machine(t, name); r.Status != "done" || m.Status.State != "available" {
		t.Fatalf("the inspection is %s (%+v), the machine %s", r.Status, r.Error, m.Status.State)
	}
}

// dies asks something of a machine and kills it at the first sight of each of
// the stages. It fails the test if one never came.
func (p *pod) dies(t *testing.T, name, verb string, at ...string) client.Request {
	t.Helper()
	var spec any
	if verb == "deploy" {
		spec = p.deployment("phoenix")
	}
	return p.diesIn(t, name, p.ask(t, name, verb, spec), at)
}

func (p *pod) diesIn(t *testing.T, name string, r client.Request, at []string) client.Request {
	t.Helper()
	at = slices.Clone(at)
	half := slices.Index(at, halfWritten)
	if half >= 0 {
		at[half] = "image/write"
		p.slow(t, name, "12MB/s")
	}
	r, left := p.stalk(t, r.ID, at, func(stage string) {
		if half >= 0 && stage == "image/write" {
			p.awaitHalf(t, name)
			p.slow(t, name, "0")
		}
		kill(t, p, name)
		t.Logf("%s was killed in %s", name, stage)
	})
	if len(left) > 0 {
		t.Errorf("%s was not killed in %q of its %s", name, left, r.Kind)
	}
	for _, s := range r.Steps {
		t.Logf("%s: step %s (undo %v) is %s after %d attempts", name, s.Name, s.Undo, s.Status, s.Attempt)
	}
	return r
}

// slow holds a machine's disks to a speed; "0" ends it.
func (p *pod) slow(t *testing.T, name, speed string) {
	t.Helper()
	if err := p.Break(t.Context(), lab.Fault{Kind: lab.SlowDisk, Target: name, Value: speed}); err != nil {
		t.Fatal(err)
	}
}

// awaitHalf waits until a part of the image is on a machine's disk.
func (p *pod) awaitHalf(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for img := readMini(t); ; {
		if same := img.equal(t, p.Machine(name).DiskPath(0)); same > 0.3 {
			t.Logf("%s has %.0f %% of the image on its disk", name, 100*same)
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: nothing is written to its disk: %v", name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill kills a machine as soon as it runs.
func kill(t *testing.T, p *pod, name string) {
	t.Helper()
	// One that died before is on again after the boot's limit at the latest.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
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
