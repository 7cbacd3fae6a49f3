package deploy

import (
	"testing"

	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// TestSeenTooLate: what is seen of a machine just as its time is up does not
// keep the failure from saying what it is.
func TestSeenTooLate(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.box.noBoot = true
		p.deploy.Times.Boot = 0
		r := p.await(p.submitDeploy().ID)
		p.wantEnd(r, change.Failed, "no-boot")
		if n := attempts(r, "boot"); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestFailedReleaseCallsAPerson: a release that fails for a reason that itself
// needs nobody leaves the machine broken, and so needs somebody.
func TestFailedReleaseCallsAPerson(t *testing.T) {
	crash := &job.Problem{Code: "internal", Detail: "the tool crashed", Retry: true}
	inPod(t, func(t *testing.T, p *pod) {
		p.await(p.submitDeploy().ID)
		p.box.problems[job.Wipe] = []*job.Problem{crash, crash, crash}
		ask, admit := p.deploy.AskRelease("m1")
		r := p.await(p.submit(ask, admit).ID)
		p.wantEnd(r, change.Failed, "internal")
		p.wantMachine(machine.Broken)
		p.wantAlerts("internal")
		if r.Error == nil || r.Error.Action == "" || !r.Error.Person {
			t.Errorf("it says %+v", r.Error)
		}
	})
}
