package deploy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/netboot/job"
)

// deployed brings the pod's machine into use.
func (p *pod) deployed() {
	p.t.Helper()
	p.wantEnd(p.await(p.submitDeploy().ID), change.Done, "")
}

func (p *pod) release() change.Request {
	p.t.Helper()
	return p.submit(p.deploy.AskRelease("m1"))
}

func (p *pod) rescue() change.Request {
	p.t.Helper()
	ask, admit, err := p.deploy.AskRescue("m1", RescueSpec{SSHKeys: []string{userKey}})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.submit(ask, admit)
}

func (p *pod) cancel(r change.Request) {
	p.t.Helper()
	if _, err := p.runner.Cancel(p.t.Context(), r.ID); err != nil {
		p.t.Fatal(err)
	}
}

// TestReleaseOfWhatWillNotLeave: a machine that boots its disk whatever it is
// told is switched off when its release fails.
func TestReleaseOfWhatWillNotLeave(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		p.box.change(func(x *box) { x.rogue = true })
		p.wantEnd(p.await(p.release().ID), change.Failed, "no-boot")
		p.wantMachine(machine.Broken)
		p.wantAlerts("no-boot")
		p.box.wantPower(power.Off)
		if m := p.machine(); !m.Dirty || !strings.HasPrefix(m.Status.Reason, "not wiped: ") {
			t.Errorf("dirty %v, %s", m.Dirty, m.Status.Reason)
		}
	})
}

// TestWipedCountsAtOnce: a machine that was wiped and cannot be switched off is
// clean; no second wipe is needed to bring it back.
func TestWipedCountsAtOnce(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		r := p.release()
		p.under(r, firmwareTime+phaseTime/2)
		p.box.change(func(x *box) { x.outlet = power.Unknown })
		p.wantEnd(p.await(r.ID), change.Failed, "outlet-unknown")
		p.wantMachine(machine.Broken)
		if m := p.machine(); m.Dirty || m.Server != nil || len(m.Wiped) != 1 || strings.Contains(m.Status.Reason, "not wiped") {
			t.Errorf("dirty %v, server %v, %s", m.Dirty, m.Server, m.Status.Reason)
		}
		p.box.change(func(x *box) { x.outlet = "" })
		p.wantEnd(p.await(p.submit(p.deploy.AskInspect("m1")).ID), change.Done, "")
		p.wantMachine(machine.Available)
		if n := p.box.did(job.Wipe); n != 1 {
			t.Errorf("%d wipes, want 1", n)
		}
	})
}

// TestDiskPassedOver: a disk of the inventory that no certificate names keeps the
// machine from being used; when a technician took it out, restoring the machine
// takes the inventory anew.
func TestDiskPassedOver(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		p.set(func(m *asset.Machine) {
			m.Inventory.Disks = append(m.Inventory.Disks, job.Disk{Path: "/dev/vdb", Serial: "S2", Bytes: 1 << 30})
		})
		p.wantEnd(p.await(p.release().ID), change.Failed, "wipe-unverified")
		p.wantMachine(machine.Broken)
		p.wantAlerts("wipe-unverified")
		p.box.wantPower(power.Off)
		if m := p.machine(); !m.Dirty || len(uncertified(&m)) != 1 || m.Server == nil {
			t.Errorf("dirty %v, wiped %v, server %v", m.Dirty, m.Wiped, m.Server)
		}
		if err := p.assets.Apply(t.Context(), "m1", machine.Event{Kind: machine.Maintain, Reason: "S2 taken out"}); err != nil {
			t.Fatal(err)
		}
		p.wantEnd(p.await(p.submit(p.deploy.AskRestore("m1")).ID), change.Done, "")
		p.wantMachine(machine.Available)
	})
}

// TestOldAgentIsNotBelieved: what speaks for a machine before its release has
// seen it off is its tenant's, also when the appliance restarts meanwhile.
func TestOldAgentIsNotBelieved(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		p.wantEnd(p.await(p.rescue().ID), change.Done, "")
		p.box.change(func(x *box) { x.slow, x.sets = 8*time.Second, nil })
		r := p.release()
		p.under(r, time.Second)
		plan, err := p.guide.Script(t.Context(), net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, netip.MustParseAddr("10.0.0.10"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go p.box.agent(ctx, plan.Args)
		p.under(r, time.Second)
		p.restart(time.Second)
		p.wantEnd(p.await(r.ID), change.Done, "")
		p.box.wantSets("1 false", "1 true", "1 false")
	})
}

// TestCancelInspection brings the machine back to where it was, and off.
func TestCancelInspection(t *testing.T) {
	for name, c := range map[string]struct {
		m    func(m *asset.Machine)
		want machine.State
	}{
		"available":  {func(*asset.Machine) {}, machine.Available},
		"discovered": {func(m *asset.Machine) { m.Status.State, m.Inventory = machine.Discovered, nil }, machine.Discovered},
		"broken":     {func(m *asset.Machine) { m.Status = machine.Status{State: machine.Broken, Reason: "fan"} }, machine.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.set(c.m)
				former := p.machine().Status.Reason
				r := p.submit(p.deploy.AskInspect("m1"))
				p.under(r, firmwareTime+phaseTime/2)
				p.cancel(r)
				p.wantEnd(p.await(r.ID), change.Cancelled, "cancelled")
				p.wantMachine(c.want)
				p.box.wantPower(power.Off)
				if m := p.machine(); m.Status.Reason != former {
					t.Errorf("reason %q, want %q", m.Status.Reason, former)
				}
			})
		})
	}
}

// TestFailedInspection leaves no machine running.
func TestFailedInspection(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.box.problems[job.Inspect] = []*job.Problem{{Code: "internal", Detail: "smbios"}}
		p.wantEnd(p.await(p.submit(p.deploy.AskInspect("m1")).ID), change.Failed, "internal")
		p.wantMachine(machine.Broken)
		p.wantAlerts("internal")
		p.box.wantPower(power.Off)
	})
}

// TestRescueThatFails, or is called off, brings the machine's own server back.
func TestRescueThatFails(t *testing.T) {
	failing := func(p *pod) { p.box.problems[job.Rescue] = []*job.Problem{{Code: "internal", Detail: "no pty"}} }
	for name, c := range map[string]struct {
		spoil func(p *pod)
		after time.Duration // when it is cancelled; never if 0
		end   change.Status
		sets  []string
	}{
		"fails":                 {failing, 0, change.Failed, []string{"1 false", "1 true", "1 false", "1 true"}},
		"outlet unknown":        {func(p *pod) { p.box.outlet = power.Unknown }, 0, change.Failed, nil},
		"cancelled in firmware": {nil, 10 * time.Second, change.Cancelled, []string{"1 false", "1 true", "1 false", "1 true"}},
		"cancelled in rescue":   {nil, firmwareTime + phaseTime/2, change.Cancelled, []string{"1 false", "1 true", "1 false", "1 true"}},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.deployed()
				p.box.change(func(x *box) { x.sets = nil })
				if c.spoil != nil {
					c.spoil(p)
				}
				r := p.rescue()
				if c.after > 0 {
					p.under(r, c.after)
					p.cancel(r)
				}
				if r = p.await(r.ID); r.Status != c.end {
					t.Errorf("ended as %s, want %s", r.Status, c.end)
				}
				p.wantMachine(machine.Active)
				p.box.wantSets(c.sets...)
				time.Sleep(firmwareTime + 2*bootTime)
				if p.box.change(func(x *box) {
					if !x.runs {
						t.Error("the machine's own server does not run")
					}
				}); p.machine().Status.Reason != "" {
					t.Errorf("reason %q", p.machine().Status.Reason)
				}
			})
		})
	}
}

// TestRescueCalledOffAtOnce: before anything was done to the machine, nothing
// has to be undone: its server, or the rescue system of before, runs on.
func TestRescueCalledOffAtOnce(t *testing.T) {
	for _, state := range []machine.State{machine.Active, machine.Rescue} {
		t.Run(string(state), func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.deployed()
				if state == machine.Rescue {
					p.wantEnd(p.await(p.rescue().ID), change.Done, "")
				}
				p.box.change(func(x *box) { x.sets = nil })
				ask, admit, err := p.deploy.AskRescue("m1", RescueSpec{SSHKeys: []string{userKey}})
				if err != nil {
					t.Fatal(err)
				}
				r, err := p.book.Accept(t.Context(), ask, admit)
				if err != nil {
					t.Fatal(err)
				}
				p.cancel(r)
				p.runner.Start(r)
				p.wantEnd(p.await(r.ID), change.Cancelled, "cancelled")
				p.wantMachine(state)
				p.box.wantSets()
			})
		})
	}
}

// TestRescueComesBack: a rescued machine that is restarted runs the rescue system
// again, whose new host key is known.
func TestRescueComesBack(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		p.wantEnd(p.await(p.rescue().ID), change.Done, "")
		reason := p.machine().Status.Reason
		if want := "rescue system at root@10.0.0.10:22, host key SHA256:"; !strings.HasPrefix(reason, want) {
			t.Errorf("reason %q, want %s", reason, want)
		}
		p.box.power(false)
		p.box.power(true)
		time.Sleep(firmwareTime + 2*phaseTime)
		if n := p.box.did(job.Rescue); n != 2 {
			t.Fatalf("%d rescues, want 2", n)
		}
		key := hostKey(byte(10 + len(p.box.jobs))).PublicKey()
		if m := p.machine(); m.Status.State != machine.Rescue || !strings.HasSuffix(m.Status.Reason, ssh.FingerprintSHA256(key)) {
			t.Errorf("machine is %s: %s", m.Status.State, m.Status.Reason)
		}
		p.wantEnd(p.await(p.submit(p.deploy.AskUnrescue("m1")).ID), change.Done, "")
		p.wantMachine(machine.Active)
		p.wantAlerts()
	})
}

// TestSwitchingIsNotCancelled: half of a restart would leave the server off.
func TestSwitchingIsNotCancelled(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.deployed()
		for _, kind := range []change.Kind{change.Restart, change.Stop, change.Start} {
			r := p.submit(p.deploy.AskPower(kind, "m1"))
			if _, err := p.runner.Cancel(t.Context(), r.ID); err == nil {
				t.Errorf("a %s was cancelled", kind)
			}
			p.wantEnd(p.await(r.ID), change.Done, "")
		}
	})
}

// TestServersOwner: what answers on a server that was handed over is its owner's;
// switching it calls nobody.
func TestServersOwner(t *testing.T) {
	for code, spoil := range map[string]func(x *box){
		"no-server":    func(x *box) { x.mute = true },
		"wrong-server": func(x *box) { x.impostor = true },
	} {
		t.Run(code, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.deployed()
				p.box.change(spoil)
				p.deploy.Times.Verify = 2 * time.Minute
				for _, kind := range []change.Kind{change.Restart, change.Stop, change.Start} {
					began := time.Now()
					r := p.await(p.submit(p.deploy.AskPower(kind, "m1")).ID)
					p.wantEnd(r, change.Done, "")
					if took := time.Since(began); took > 3*time.Minute {
						t.Errorf("%s: waited %v for the server, longer than for a new one", kind, took)
					}
					noted := slices.ContainsFunc(r.Steps, func(s change.Step) bool {
						return slices.ContainsFunc(s.Phases, func(p change.Phase) bool { return p.Name == code })
					})
					if noted != (kind != change.Stop) {
						t.Errorf("%s: noted %v in %+v", kind, noted, r.Steps)
					}
				}
				p.wantMachine(machine.Active)
				p.wantAlerts()
			})
		})
	}
}
