package deploy

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// unwiped makes the machine one that was accepted and never wiped, with
// somebody's system on its disks.
func (p *pod) unwiped(disks ...job.Disk) {
	p.t.Helper()
	p.box.change(func(x *box) { x.disk = "theirs" })
	p.set(func(m *asset.Machine) {
		m.Wiped = nil
		m.Inventory.Disks = append(m.Inventory.Disks, disks...)
	})
}

var secondDisk = job.Disk{Path: "/dev/vdb", Serial: "S2", Bytes: 1 << 30}

func bothWiped() []job.WipedDisk {
	return append(goodWipe(), job.WipedDisk{Path: "/dev/vdb", Serial: "S2", Bytes: 1 << 30, Method: "zero", Verified: "full"})
}

// TestErase: the disks of a machine that was never wiped are erased once, before
// its first image; with certificates for all of them, never again.
func TestErase(t *testing.T) {
	for name, c := range map[string]struct {
		disks []job.Disk
		certs []job.WipedDisk
		set   func(m *asset.Machine)
		quick bool
	}{
		"one disk":                  {nil, goodWipe(), nil, false},
		"one disk that discards":    {nil, goodWipe(), func(m *asset.Machine) { m.Inventory.Disks[0].Discard = true }, true},
		"two disks":                 {[]job.Disk{secondDisk}, bothWiped(), nil, false},
		"two disks, one discards":   {[]job.Disk{secondDisk}, bothWiped(), func(m *asset.Machine) { m.Inventory.Disks[0].Discard = true }, false},
		"a disk that came later":    {[]job.Disk{secondDisk}, bothWiped(), func(m *asset.Machine) { m.Wiped = goodWipe() }, false},
		"a disk exchanged":          {nil, goodWipe(), func(m *asset.Machine) { m.Wiped = goodWipe(); m.Wiped[0].Serial = "S0" }, false},
		"a certificate for a part":  {nil, goodWipe(), func(m *asset.Machine) { m.Wiped = goodWipe(); m.Wiped[0].Bytes-- }, false},
		"a second disk of the same": {[]job.Disk{secondDisk}, bothWiped(), func(m *asset.Machine) { m.Wiped = append(goodWipe(), goodWipe()...) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.unwiped(c.disks...)
				if c.set != nil {
					p.set(c.set)
				}
				p.box.change(func(x *box) { x.wiped = c.certs })
				p.deployed()
				if want := []job.Kind{job.Wipe, job.Deploy, job.Reboot}; !slices.Equal(p.box.jobs, want) {
					t.Errorf("the agent was given %v, want %v", p.box.jobs, want)
				}
				if d := cmp.Diff([]job.WipeSpec{{Method: "best", Quick: c.quick}}, p.box.wipes); d != "" {
					t.Error(d)
				}
				if d := cmp.Diff(c.certs, p.machine().Wiped); d != "" {
					t.Error(d)
				}
				p.wantEnd(p.await(p.release().ID), change.Done, "")
				p.deployed()
				if n := p.box.did(job.Wipe); n != 2 {
					t.Errorf("%d wipes, want the first and the release's", n)
				}
				if len(p.box.wipes) > 1 && p.box.wipes[1].Quick {
					t.Error("the release was quick")
				}
				p.wantAlerts()
			})
		})
	}
}

// TestEraseFails: a machine whose disks cannot be shown to be empty gets no image.
func TestEraseFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(x *box)
		code  string
		state machine.State
	}{
		"a disk is not named": {func(x *box) { x.wiped = goodWipe() }, "wipe-unverified", machine.Broken},
		"holds something":     {func(x *box) { x.problems[job.Wipe] = []*job.Problem{{Code: "wipe-unverified"}} }, "wipe-unverified", machine.Broken},
		"disk fails":          {func(x *box) { x.problems[job.Wipe] = []*job.Problem{{Code: "disk-io"}} }, "disk-io", machine.Broken},
		"a disk is gone":      {func(x *box) { x.problems[job.Wipe] = []*job.Problem{{Code: "disk-not-found"}} }, "disk-not-found", machine.Available},
		"agent always silent": {func(x *box) { x.hang[job.Wipe] = 99 }, "agent-lost", machine.Available},
	} {
		t.Run(name, func(t *testing.T) {
			inPod(t, func(t *testing.T, p *pod) {
				p.unwiped(secondDisk)
				p.box.change(c.spoil)
				r := p.await(p.submitDeploy().ID)
				p.wantEnd(r, change.Failed, c.code)
				p.wantMachine(c.state)
				p.wantAlerts(c.code)
				if p.box.did(job.Deploy) > 0 || p.machine().Wiped != nil || !r.Error.Person {
					t.Errorf("jobs %v, certificates %v, %+v", p.box.jobs, p.machine().Wiped, r.Error)
				}
			})
		})
	}
}

// TestEraseCancelled: nobody waits for the wipe of a machine that was not begun;
// the next deployment does it.
func TestEraseCancelled(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		p.unwiped()
		r := p.submitDeploy()
		p.under(r, firmwareTime+phaseTime/2)
		if _, err := p.runner.Cancel(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		p.wantEnd(p.await(r.ID), change.Cancelled, "cancelled")
		p.wantMachine(machine.Available)
		if d := cmp.Diff([]job.Kind{job.Wipe}, p.box.jobs); d != "" {
			t.Error(d)
		}
		p.deployed()
		if d := cmp.Diff([]job.Kind{job.Wipe, job.Wipe, job.Deploy, job.Reboot}, p.box.jobs); d != "" {
			t.Error(d)
		}
		p.wantAlerts()
	})
}

// TestEraseInterrupted: the appliance or the machine dies while the disks are
// erased, or right after: the image comes behind a whole wipe.
func TestEraseInterrupted(t *testing.T) {
	for _, when := range []time.Duration{firmwareTime + time.Second, firmwareTime + phaseTime/2, firmwareTime + phaseTime + time.Second} {
		for name, strike := range map[string]func(p *pod){
			"appliance": func(p *pod) { p.restart(3 * time.Second) },
			"machine":   func(p *pod) { p.box.crash() },
		} {
			t.Run(name+" at "+when.String(), func(t *testing.T) {
				inPod(t, func(t *testing.T, p *pod) {
					p.unwiped()
					r := p.submitDeploy()
					p.under(r, when)
					strike(p)
					p.wantEnd(p.await(r.ID), change.Done, "")
					p.wantMachine(machine.Active)
					p.box.wantDisk("debian")
					if len(p.machine().Wiped) != 1 {
						t.Error("it has no certificate")
					}
					p.wantAlerts()
				})
			})
		}
	}
}

// TestEraseOnlyBefore: a deployment that an appliance began which did not know
// this step goes on with what it has written.
func TestEraseOnlyBefore(t *testing.T) {
	m := asset.Machine{Inventory: goodInventory(), Status: machine.Status{State: machine.Reserved}}
	if eraseSpec(&m, job.DiskHint{}) == nil {
		t.Error("a machine that was never wiped is not erased")
	}
	for _, m.Status.State = range []machine.State{machine.Imaging, machine.Configuring, machine.Verifying, machine.Active} {
		if s := eraseSpec(&m, job.DiskHint{}); s != nil {
			t.Errorf("a machine that is %s is erased: %+v", m.Status.State, s)
		}
	}
}
