package deploy

import (
	"context"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

func (a *Actuator) rescue(ctx context.Context, run *change.Run) error {
	var spec RescueSpec
	if err := run.Spec(&spec); err != nil {
		return err
	}
	result, err := a.do(ctx, run, job.Job{Kind: job.Rescue, Rescue: &job.RescueSpec{SSHKeys: spec.SSHKeys}}, nil)
	if err != nil {
		return err
	}
	if result.Rescue == nil {
		return &change.Problem{Code: "internal", Detail: "the agent's rescue has no result"}
	}
	return a.Assets.Change(ctx, run.Request.Machine, func(_ *store.Tx, m *asset.Machine) error {
		m.Status.Reason = result.Rescue.String()
		return nil
	})
}

func (a *Actuator) leaveRescue(ctx context.Context, run *change.Run) error {
	return a.Assets.Apply(ctx, run.Request.Machine, machine.Event{Kind: machine.LeaveRescue})
}

// undoRescue brings the machine's own server back, unless nothing was done to
// the machine yet.
func (a *Actuator) undoRescue(ctx context.Context, run *change.Run) error {
	touched := false
	for _, s := range run.Request.Steps {
		touched = touched || s.Name == "boot" && s.Attempt > 0
	}
	if !touched {
		return nil
	}
	if err := a.leaveRescue(ctx, run); err != nil {
		return err
	}
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	if err := a.Agents.Reset(ctx, m.ID); err != nil {
		return err
	}
	return problem(a.cycle(ctx, run, &m))
}
