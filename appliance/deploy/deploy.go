// Package deploy carries out the change requests that need the netboot agent or
// the power of a machine: inspect, deploy, release, rescue, restart, start and
// stop. Each is a list of idempotent steps for change.Runner.
//
// What always holds: only a machine whose disks were all erased gets an image; the
// lifecycle says that it is being written to before the image touches its disk,
// and that it may boot its disk only after the image was written, checked and
// configured; a deployment that fails or is cancelled ends with nothing of it on
// the machine, which is available, or broken with an alert.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
)

// Images finds images in the pod's library.
type Images interface {
	// Resolve finds an image by NAME or NAME:VERSION; base is the URL under which
	// the machines reach the appliance.
	Resolve(ctx context.Context, ref string) (Image, error)
}

// Network is what the machines' provisioning network gives to a server.
type Network struct {
	// Prefix is the network, Gateway its router, if it has one, DNS its servers.
	Prefix  netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
}

// Times bounds the steps.
type Times struct {
	// Boot is from power-on to the agent's first word; Image is one attempt at
	// writing; Wipe one at wiping, all disks side by side: a hard disk of 24 TB takes
	// two days to be zeroed and read, and an agent that fell silent is noticed long
	// before; Verify is from the restart to the server's proof.
	Boot, Inspect, Image, Wipe, Verify, Power time.Duration
	// LLDP is how long an inspection listens for neighbours.
	LLDP time.Duration
}

// DefaultTimes suit servers with slow firmware and large disks.
func DefaultTimes() Times {
	return Times{Boot: 10 * time.Minute, Inspect: 5 * time.Minute, Image: 2 * time.Hour, Wipe: 72 * time.Hour,
		Verify: 15 * time.Minute, Power: 5 * time.Minute, LLDP: 31 * time.Second}
}

// Actuator carries the requests out. It is safe for concurrent use.
type Actuator struct {
	Assets    *asset.Registry
	Agents    *agent.Service
	Power     *power.Actuator
	Images    Images
	Sightings *boot.Sightings
	Network   Network
	Times     Times
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	Now       func() time.Time
	Log       *slog.Logger
}

// Plans returns how each kind of request is carried out.
func (a *Actuator) Plans() map[change.Kind]change.Plan {
	t := a.Times
	bootStep := change.StepPlan{Name: "boot", Timeout: 3 * t.Boot, Attempts: 3, Run: a.boot}
	freshBoot := change.StepPlan{Name: "boot", Timeout: 3 * t.Boot, Attempts: 3, Run: a.freshBoot}
	off := change.StepPlan{Name: "power-off", Timeout: t.Power, Attempts: 3, Run: a.powerOff}
	wipe := change.StepPlan{Name: "wipe", Timeout: t.Wipe, Attempts: 3, Run: a.wipe}
	verify := change.StepPlan{Name: "verify", Timeout: t.Verify, Run: a.verify}
	look := change.StepPlan{Name: "look", Timeout: t.Power + time.Minute, Run: a.look}
	restart := change.StepPlan{Name: "power-cycle", Timeout: t.Power, Attempts: 3, Run: a.powerCycle}
	return map[change.Kind]change.Plan{
		change.Inspect: {
			Steps:  []change.StepPlan{bootStep, {Name: "inspect", Timeout: t.Inspect + t.Boot, Attempts: 3, Run: a.inspect}, off},
			Undo:   []change.StepPlan{off},
			Settle: settleInspect,
		},
		change.Deploy: {
			Steps: []change.StepPlan{
				freshBoot,
				{Name: "erase", Timeout: t.Wipe, Attempts: 3, Run: a.erase},
				{Name: "image", Timeout: t.Image, Attempts: 3, Run: a.image},
				{Name: "restart", Timeout: t.Power, Attempts: 3, Run: a.restartIntoDisk},
				verify,
				{Name: "activate", Timeout: time.Minute, Run: a.activate},
			},
			Undo:   []change.StepPlan{{Name: "clean-up", Timeout: t.Wipe + t.Boot, Attempts: 3, Run: a.cleanUp}},
			Settle: settleDeploy,
		},
		change.Release: {
			Steps: []change.StepPlan{{Name: "boot", Timeout: 3 * t.Boot, Attempts: 3, Run: a.releaseBoot}, wipe, off,
				{Name: "free", Timeout: time.Minute, Run: a.free}},
			Undo:          []change.StepPlan{off},
			Settle:        settleRelease,
			Uncancellable: true,
		},
		change.Rescue: {
			Steps:  []change.StepPlan{freshBoot, {Name: "rescue", Timeout: t.Boot, Attempts: 3, Run: a.rescue}},
			Undo:   []change.StepPlan{{Name: "leave", Timeout: t.Power, Attempts: 3, Run: a.undoRescue}},
			Settle: settleRescue,
		},
		change.Unrescue: {Uncancellable: true, Steps: []change.StepPlan{
			{Name: "leave", Timeout: time.Minute, Run: a.leaveRescue}, restart, look}},
		change.Restart: {Uncancellable: true, Steps: []change.StepPlan{restart, look}},
		change.Start:   {Uncancellable: true, Steps: []change.StepPlan{{Name: "power-on", Timeout: t.Power, Attempts: 3, Run: a.powerOn}, look}},
		change.Stop:    {Uncancellable: true, Steps: []change.StepPlan{off}},
	}
}

// settleInspect ends an inspection: with the inventory in, the machine is
// usable if someone vouches for it; called off, it is where it was.
func settleInspect(m *asset.Machine, end change.Status, p *change.Problem, now time.Time) error {
	former := m.Former
	m.Former = machine.Status{}
	if end == change.Done {
		return m.Apply(machine.Event{Kind: machine.Inspected, Accepted: m.Accepted}, now)
	}
	if end == change.Cancelled {
		to := former.State
		if to != machine.Available && to != machine.Broken {
			to = machine.Discovered
		}
		return m.Apply(machine.Event{Kind: machine.Revert, To: to, Reason: former.Reason}, now)
	}
	return m.Apply(machine.Event{Kind: machine.Break, Reason: "inspection: " + p.Detail}, now)
}

// settleDeploy ends a deployment: cleanUp has brought the machine back, or it
// is broken. One whose disk failed, or could not be erased, is broken although
// nothing of a server is left: the next would be given the same disk.
func settleDeploy(m *asset.Machine, end change.Status, p *change.Problem, now time.Time) error {
	switch {
	case end == change.Done || m.Status.State == machine.Broken:
		return nil
	case m.Status.State == machine.Available && !badDisk(p.Code) && p.Code != "wipe-unverified":
		return nil
	}
	return m.Apply(machine.Event{Kind: machine.Break, Reason: "deployment: " + p.Detail}, now)
}

// settleRelease ends a release. One that failed after the wipe leaves a clean
// machine, which an inspection is enough to bring back.
func settleRelease(m *asset.Machine, end change.Status, p *change.Problem, now time.Time) error {
	if end == change.Done {
		return nil
	}
	reason := "release: "
	if m.Dirty {
		reason = "not wiped: "
	}
	return m.Apply(machine.Event{Kind: machine.Break, Reason: reason + p.Detail}, now)
}

// settleRescue ends a rescue: one that failed or was called off leaves the
// machine's own server. A rescue system that ran before and was not touched
// goes on.
func settleRescue(m *asset.Machine, end change.Status, _ *change.Problem, now time.Time) error {
	former := m.Former
	m.Former = machine.Status{}
	if end == change.Done || m.Status.State != machine.Rescue || former.State == machine.Rescue {
		return nil
	}
	return m.Apply(machine.Event{Kind: machine.LeaveRescue}, now)
}

// problem makes a request's problem of what went wrong with a machine.
func problem(err error) error {
	var known *change.Problem
	var pe *power.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.As(err, &pe) && pe.Unknown:
		return &change.Problem{Code: "outlet-unknown", Detail: pe.Error(), Person: true,
			Action: "look at the PDU and at what the inventory says of this outlet; nothing was switched"}
	case errors.As(err, &pe):
		return &change.Problem{Code: "outlet", Detail: pe.Error(), Person: true, Retry: pe.Retry,
			Action: "look at the PDU; then give the request again"}
	case errors.Is(err, power.ErrNoOutlet):
		return &change.Problem{Code: "no-outlet", Detail: err.Error(), Person: true,
			Action: "add the machine's power feeds to the inventory"}
	case errors.Is(err, agent.ErrLost):
		return &change.Problem{Code: "agent-lost", Detail: err.Error(), Person: true, Retry: true,
			Action: "look at the machine's console and log"}
	}
	return fmt.Errorf("%w", err)
}
