package deploy

import (
	"context"
	"errors"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

// wipe has the agent erase the machine's disks. The machine is clean from the
// transaction on that records the certificates; it is available when it is off.
func (a *Actuator) wipe(ctx context.Context, run *change.Run) error {
	var asked struct {
		Disk job.DiskHint `json:"disk"`
	}
	if run.Request.Kind == change.Deploy {
		if err := run.Spec(&asked); err != nil {
			return err
		}
	}
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	spec := wipeSpec(&m, asked.Disk)
	result, err := a.do(ctx, run, job.Job{Kind: job.Wipe, Wipe: spec}, nil)
	if err != nil {
		return err
	}
	if p := believe(&m, spec, result.Wiped); p != nil {
		return p
	}
	return a.Assets.Change(ctx, m.ID, func(_ *store.Tx, m *asset.Machine) error {
		m.Wiped, m.Dirty, m.Server = result.Wiped, false, nil
		return nil
	})
}

// free makes a machine that was wiped and switched off available.
func (a *Actuator) free(ctx context.Context, run *change.Run) error {
	return a.Assets.Apply(ctx, run.Request.Machine, machine.Event{Kind: machine.Wiped})
}

// cleanUp brings a machine whose deployment failed back: wiped if its disk was
// written to, and switched off.
func (a *Actuator) cleanUp(ctx context.Context, run *change.Run) error {
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	switch m.Status.State {
	case machine.Available:
		return nil
	case machine.Reserved:
		if err := a.powerOff(ctx, run); err != nil {
			return err
		}
		return a.Assets.Apply(ctx, m.ID, machine.Event{Kind: machine.Unreserve})
	}
	if err := a.Assets.Apply(ctx, m.ID, machine.Event{Kind: machine.Release}); err != nil {
		return err
	}
	if m.Dirty { // else an earlier attempt has wiped it
		if err := a.wipe(ctx, run); err != nil {
			return errors.Join(err, a.offAnyway(ctx, run))
		}
	}
	if err := a.powerOff(ctx, run); err != nil {
		return err
	}
	return a.free(ctx, run)
}

// offAnyway switches a machine off whose wipe failed, also when the time for the
// wipe is over: what is on its disks must not run. It does nothing if the
// appliance stops, as the next one goes on.
func (a *Actuator) offAnyway(ctx context.Context, run *change.Run) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Times.Power)
	defer cancel()
	return a.powerOff(ctx, run)
}
