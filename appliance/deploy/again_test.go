package deploy

import (
	"testing"

	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// TestReleaseGoesOn: a release that wiped, and failed at the outlet, goes on
// there and does not wipe again.
func TestReleaseGoesOn(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.await(p.submitDeploy().ID)
		ask, admit := p.deploy.AskRelease("m1")
		r := p.submit(ask, admit)
		p.under(r, firmwareTime+phaseTime/2)
		p.box.mu.Lock()
		p.box.outlet = "unknown"
		p.box.mu.Unlock()
		r = p.await(r.ID)
		p.wantEnd(r, change.Failed, "outlet-unknown")
		p.wantMachine(machine.Broken)
		p.wantAlerts("outlet-unknown")
		p.box.mu.Lock()
		p.box.outlet = ""
		p.box.mu.Unlock()
		admit, ok := p.deploy.AskAgain(r)
		if !ok {
			t.Fatal("it cannot go on")
		}
		if _, err := p.runner.Retry(t.Context(), r.ID, admit); err != nil {
			t.Fatal(err)
		}
		p.wantEnd(p.await(r.ID), change.Done, "")
		p.wantMachine(machine.Available)
		if n := p.box.did(job.Wipe); n != 1 {
			t.Errorf("%d wipes", n)
		}
	})
}

// TestAgain: what was undone is not gone on with.
func TestAgain(t *testing.T) {
	for kind, want := range map[change.Kind]bool{change.Inspect: true, change.Release: true, change.Restart: true, change.Start: true,
		change.Stop: true, change.Unrescue: true, change.Deploy: false, change.Rescue: false} {
		if _, ok := (&Actuator{}).AskAgain(change.Request{Kind: kind, Machine: "m1"}); ok != want {
			t.Errorf("%s goes on: %v", kind, ok)
		}
	}
}
