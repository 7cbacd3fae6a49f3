package deploy

import (
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/netboot/job"
)

// TestLife takes the machine through everything that is asked of one, in order.
func TestLife(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		ask, admit := p.deploy.AskInspect("m1")
		p.wantEnd(p.await(p.submit(ask, admit).ID), change.Done, "")
		p.wantMachine(machine.Available)
		p.box.wantSets("1 true", "1 false")

		r := p.await(p.submitDeploy().ID)
		p.wantEnd(r, change.Done, "")
		p.wantMachine(machine.Active)
		p.box.wantDisk("debian")
		m := p.machine()
		if p.box.hint.MinBytes != 2<<30 {
			t.Errorf("the agent was told of a disk of %d bytes at least, want the image's minimum", p.box.hint.MinBytes)
		}
		if s := m.Server; s == nil || s.Hostname != "m1" || s.Image != "debian:12" || s.Digest != "d1" || s.Disk != "/dev/vda" || len(s.HostKeys) != 1 || !m.Dirty {
			t.Errorf("server %+v, dirty %v", m.Server, m.Dirty)
		}
		for _, s := range r.Steps {
			if s.Attempt != 1 || s.Status != change.Done {
				t.Errorf("step %+v", s)
			}
		}
		if n := len(r.Steps[2].Phases); n != 3 || r.Steps[2].Phases[1].Name != "configure" || r.Steps[2].Phases[2].Ended.IsZero() {
			t.Errorf("phases of the image step: %+v", r.Steps[2].Phases)
		}

		for _, kind := range []change.Kind{change.Restart, change.Stop, change.Start} {
			ask, admit := p.deploy.AskPower(kind, "m1")
			p.wantEnd(p.await(p.submit(ask, admit).ID), change.Done, "")
			p.wantMachine(machine.Active)
		}
		rescue, admit, err := p.deploy.AskRescue("m1", RescueSpec{SSHKeys: []string{userKey}})
		if err != nil {
			t.Fatal(err)
		}
		p.wantEnd(p.await(p.submit(rescue, admit).ID), change.Done, "")
		p.wantMachine(machine.Rescue)
		p.box.wantDisk("debian")
		ask, admit = p.deploy.AskUnrescue("m1")
		p.wantEnd(p.await(p.submit(ask, admit).ID), change.Done, "")
		p.wantMachine(machine.Active)

		ran := len(p.box.ran)
		ask, admit = p.deploy.AskRelease("m1")
		p.wantEnd(p.await(p.submit(ask, admit).ID), change.Done, "")
		p.wantMachine(machine.Available)
		p.box.wantDisk("")
		if m := p.machine(); m.Server != nil || len(m.Wiped) != 1 {
			t.Errorf("released: %+v", m)
		}
		if len(p.box.ran) != ran {
			t.Error("the old system ran after its release")
		}
		if s, err := p.box.Get(t.Context(), "1"); s != "off" || err != nil {
			t.Errorf("a released machine's outlet is %s", s)
		}
		p.wantAlerts()
	})
}

// TestTrouble deploys while something goes wrong: each ends active, or with the
// machine clean and available, or broken with a person called; never locked.
func TestTrouble(t *testing.T) {
	digest := &job.Problem{Code: "image-digest", Detail: "chunk 3"}
	mismatch := &job.Problem{Code: "readback-mismatch", Detail: "block 7", Retry: true}
	flaky := &job.Problem{Code: "network", Detail: "reset", Retry: true}
	for name, c := range map[string]struct {
		spoil  func(x *box)
		end    change.Status
		code   string
		state  machine.State
		disk   string
		alerts []string
		also   func(t *testing.T, p *pod, r change.Request)
	}{
		"agent silent mid-image": {spoil: func(x *box) { x.hang[job.Deploy] = 1 }, end: change.Done, state: machine.Active, disk: "debian",
			also: func(t *testing.T, p *pod, r change.Request) {
				p.box.wantSets("1 true", "1 false", "1 true")
				if attempts(r, "image") != 2 || p.box.did(job.Deploy) != 2 {
					t.Errorf("%d attempts, %d jobs", attempts(r, "image"), p.box.did(job.Deploy))
				}
			}},
		"agent silent every time": {spoil: func(x *box) { x.hang[job.Deploy] = 99 }, end: change.Failed, code: "agent-lost", state: machine.Available,
			alerts: []string{"agent-lost"}, also: func(t *testing.T, p *pod, r change.Request) {
				if attempts(r, "image") != 3 || p.box.did(job.Wipe) != 1 {
					t.Errorf("%d attempts, %d wipes", attempts(r, "image"), p.box.did(job.Wipe))
				}
			}},
		"image is damaged": {spoil: func(x *box) { x.problems[job.Deploy] = []*job.Problem{digest} }, end: change.Failed, code: "image-digest", state: machine.Available,
			alerts: []string{"image-digest"}, also: func(t *testing.T, p *pod, r change.Request) {
				if r.Error.Subject != "image/debian:12" {
					t.Errorf("the alert is about %q, want the image", r.Error.Subject)
				}
			}},
		"disk loses what is written": {spoil: func(x *box) { x.problems[job.Deploy] = []*job.Problem{mismatch, mismatch, mismatch} },
			end: change.Failed, code: "readback-mismatch", state: machine.Broken, alerts: []string{"readback-mismatch"}},
		"disk fails": {spoil: func(x *box) { x.problems[job.Deploy] = []*job.Problem{{Code: "disk-io", Detail: "sda"}} },
			end: change.Failed, code: "disk-io", state: machine.Broken, alerts: []string{"disk-io"}},
		"network comes back": {spoil: func(x *box) { x.problems[job.Deploy] = []*job.Problem{flaky, flaky} }, end: change.Done, state: machine.Active, disk: "debian",
			also: func(t *testing.T, p *pod, r change.Request) { p.box.wantSets("1 true") }},
		"wipe fails too": {spoil: func(x *box) {
			x.problems[job.Deploy] = []*job.Problem{digest}
			x.problems[job.Wipe] = []*job.Problem{{Code: "wipe-unverified", Detail: "old data"}}
		}, end: change.Failed, code: "wipe-unverified", state: machine.Broken, disk: "half", alerts: []string{"wipe-unverified"},
			also: func(t *testing.T, p *pod, r change.Request) { p.box.wantPower(power.Off) }},
		"wipe never ends": {spoil: func(x *box) {
			x.problems[job.Deploy] = []*job.Problem{digest}
			x.hang[job.Wipe] = 99
		}, end: change.Failed, code: "agent-lost", state: machine.Broken, disk: "half", alerts: []string{"agent-lost"},
			also: func(t *testing.T, p *pod, r change.Request) { p.box.wantPower(power.Off) }},
		"agent silent in the wipe": {spoil: func(x *box) {
			x.problems[job.Deploy] = []*job.Problem{digest}
			x.hang[job.Wipe] = 1
		}, end: change.Failed, code: "image-digest", state: machine.Available, alerts: []string{"image-digest"}},
		"firmware hangs": {spoil: func(x *box) { x.noBoot = true }, end: change.Failed, code: "no-boot", state: machine.Available, alerts: []string{"no-boot"},
			also: func(t *testing.T, p *pod, r change.Request) {
				if attempts(r, "boot") != 3 || p.machine().Dirty {
					t.Errorf("%d attempts, dirty %v", attempts(r, "boot"), p.machine().Dirty)
				}
			}},
		"outlet unknown": {spoil: func(x *box) { x.outlet = "unknown" }, end: change.Failed, code: "outlet-unknown", state: machine.Broken,
			alerts: []string{"outlet-unknown"}, also: func(t *testing.T, p *pod, r change.Request) { p.box.wantSets() }},
		"outlet never changes": {spoil: func(x *box) { x.outlet = "on" }, end: change.Failed, code: "outlet", state: machine.Broken, alerts: []string{"outlet"}},
		"restart refused": {spoil: func(x *box) { x.problems[job.Reboot] = []*job.Problem{{Code: "internal", Detail: "kexec"}} }, end: change.Done, state: machine.Active, disk: "debian",
			also: func(t *testing.T, p *pod, r change.Request) { p.box.wantSets("1 true", "1 false", "1 true") }},
		"another system answers": {spoil: func(x *box) { x.impostor = true }, end: change.Failed, code: "wrong-server", state: machine.Available, alerts: []string{"wrong-server"}},
		"nothing answers":        {spoil: func(x *box) { x.mute = true }, end: change.Failed, code: "no-server", state: machine.Available, alerts: []string{"no-server"}},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				c.spoil(p.box)
				r := p.await(p.submitDeploy().ID)
				p.wantEnd(r, c.end, c.code)
				p.wantMachine(c.state)
				p.box.wantDisk(c.disk)
				p.wantAlerts(c.alerts...)
				if c.also != nil {
					c.also(t, p, r)
				}
			})
		})
	}
}

// TestNoOutlet: a machine that only a person can switch is served all the same.
func TestNoOutlet(t *testing.T) {
	for name, fail := range map[string]bool{"deployed": false, "image damaged": true} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.set(func(m *asset.Machine) { m.Power = nil })
				want, alerts := machine.Active, []string(nil)
				if fail {
					want, alerts = machine.Available, []string{"image-digest"}
					p.box.problems[job.Deploy] = []*job.Problem{{Code: "image-digest"}}
				}
				r := p.submitDeploy()
				time.Sleep(time.Minute)
				p.box.power(true)
				p.await(r.ID)
				p.wantMachine(want)
				p.wantAlerts(alerts...)
				p.box.wantSets()
			})
		})
	}
}

// TestCancel stops a deployment at each moment: whatever was done is undone.
func TestCancel(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		wipes int
	}{
		"at once":                {0, 0},
		"in the firmware":        {10 * time.Second, 0},
		"while it is written":    {firmwareTime + 8*time.Second, 1},
		"while it is configured": {firmwareTime + phaseTime + 8*time.Second, 1},
		"while it restarts":      {firmwareTime + 3*phaseTime + 20*time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				r := p.submitDeploy()
				time.Sleep(c.after)
				if _, err := p.runner.Cancel(t.Context(), r.ID); err != nil {
					t.Fatal(err)
				}
				p.wantEnd(p.await(r.ID), change.Cancelled, "cancelled")
				p.wantMachine(machine.Available)
				p.box.wantDisk("")
				p.wantAlerts()
				if n := p.box.did(job.Wipe); n != c.wipes {
					t.Errorf("%d wipes, want %d", n, c.wipes)
				}
			})
		})
	}
}

// moments are when things are killed: some two in each step of a deployment.
func moments() (list []time.Duration) {
	for d := time.Second; d < 2*firmwareTime+3*phaseTime+bootTime; d += 13 * time.Second {
		list = append(list, d)
	}
	return list
}

// TestApplianceRestarts in every step of a deployment and of a release: the next
// appliance brings it to the same end.
func TestApplianceRestarts(t *testing.T) {
	for _, when := range moments() {
		t.Run(when.String(), func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				r := p.submitDeploy()
				p.under(r, when)
				p.restart(3 * time.Second)
				p.wantEnd(p.await(r.ID), change.Done, "")
				p.wantMachine(machine.Active)
				p.box.wantDisk("debian")
				ran := len(p.box.ran)
				ask, admit := p.deploy.AskRelease("m1")
				r = p.submit(ask, admit)
				p.under(r, min(when, firmwareTime+phaseTime))
				p.restart(3 * time.Second)
				p.wantEnd(p.await(r.ID), change.Done, "")
				p.wantMachine(machine.Available)
				p.box.wantDisk("")
				if len(p.box.ran) != ran {
					t.Error("the old system ran after its release")
				}
				p.wantAlerts()
			})
		})
	}
}

// TestMachineDies in every step of a deployment and of a release: it is started
// again and the work done over.
func TestMachineDies(t *testing.T) {
	for _, when := range moments() {
		t.Run(when.String(), func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				r := p.submitDeploy()
				p.under(r, when)
				p.box.crash()
				r = p.await(r.ID)
				p.wantMachine(map[change.Status]machine.State{change.Done: machine.Active, change.Failed: machine.Available}[r.Status])
				if r.Status == change.Failed {
					p.box.wantDisk("")
					p.wantAlerts(r.Error.Code)
					return
				}
				ask, admit := p.deploy.AskRelease("m1")
				r = p.submit(ask, admit)
				p.under(r, min(when, firmwareTime+phaseTime))
				p.box.crash()
				p.wantEnd(p.await(r.ID), change.Done, "")
				p.wantMachine(machine.Available)
				p.box.wantDisk("")
			})
		})
	}
}
