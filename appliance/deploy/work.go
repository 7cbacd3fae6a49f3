package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

// do brings the agent up if it does not run, gives it a job and waits for its
// end, following its phases.
func (a *Actuator) do(ctx context.Context, run *change.Run, j job.Job, onPhase func(phase string) error) (*job.Result, error) {
	if err := a.bring(ctx, run); err != nil {
		return nil, problem(err)
	}
	j.ID = fmt.Sprintf("%s-%s-%d", run.Request.ID, run.Step, run.Attempt)
	if d, ok := ctx.Deadline(); ok {
		j.Deadline = d.UTC()
	}
	var phaseErr error
	phase := ""
	result, err := a.Agents.Do(ctx, run.Request.Machine, j, func(r job.Report) {
		run.Say(change.Progress{Phase: r.Phase, Message: r.Message, Done: r.Done, Total: r.Total, Rate: r.Rate,
			Remaining: time.Duration(r.Remaining).Seconds()})
		if r.Phase == phase || r.Phase == "" || phaseErr != nil {
			return
		}
		phase = r.Phase
		if phaseErr = run.Phase(ctx, r.Phase); phaseErr == nil && onPhase != nil {
			phaseErr = onPhase(r.Phase)
		}
	})
	var jp *job.Problem
	if errors.As(err, &jp) {
		return nil, &change.Problem{Code: jp.Code, Detail: fmt.Sprintf("machine %s: %s", run.Request.Machine, jp.Detail),
			Retry: jp.Retry, Action: advice(jp.Code), Person: badDisk(jp.Code) || badImage(jp.Code) || jp.Code == "wipe-unverified",
			Subject: subject(&j, jp.Code)}
	}
	if err := errors.Join(err, phaseErr); err != nil {
		return nil, problem(err)
	}
	return result, nil
}

// badDisk says that a problem's code is about a disk that fails.
func badDisk(code string) bool { return code == "disk-io" || code == "readback-mismatch" }

// badImage says that a problem's code is about what the library keeps: every
// deployment of that image fails in the same way.
func badImage(code string) bool {
	return code == "image-digest" || code == "image-truncated" || code == "image-signature"
}

// subject is what an agent's problem is about, if not its machine.
func subject(j *job.Job, code string) string {
	if j.Deploy == nil || !badImage(code) {
		return ""
	}
	return fmt.Sprintf("image/%s:%s", j.Deploy.Image.Name, j.Deploy.Image.Version)
}

// advice says what to do about an agent's problem.
func advice(code string) string {
	switch code {
	case "image-digest", "image-truncated":
		return "verify the image (gantry image verify) and import it again if it is damaged"
	case "image-signature":
		return "the image is not signed by this appliance's library: import it again"
	case "disk-too-small", "disk-not-found", "disk-sector-size":
		return "choose another machine or another disk"
	case "disk-io", "wipe-unverified", "readback-mismatch":
		return "replace the disk"
	case "network":
		return "look at the machine's cable and switch port"
	}
	return "see the machine's log"
}

func (a *Actuator) inspect(ctx context.Context, run *change.Run) error {
	result, err := a.do(ctx, run, job.Job{Kind: job.Inspect, Inspect: &job.InspectSpec{LLDPWait: job.Duration(a.Times.LLDP)}}, nil)
	if err != nil {
		return err
	}
	inv := result.Inventory
	if inv == nil {
		return &change.Problem{Code: "internal", Detail: "the agent's inspection has no inventory"}
	}
	return a.Assets.Change(ctx, run.Request.Machine, func(_ *store.Tx, m *asset.Machine) error {
		m.Inventory = inv
		if m.UUID == "" {
			m.UUID = inv.System.UUID
		}
		return nil
	})
}

// image has the agent write, configure and check the image.
func (a *Actuator) image(ctx context.Context, run *change.Run) error {
	var spec Spec
	if err := run.Spec(&spec); err != nil {
		return err
	}
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	img, err := a.Images.Resolve(ctx, spec.Image)
	if err != nil {
		return &change.Problem{Code: "image", Detail: err.Error(), Action: "see gantry image list"}
	}
	if err := a.Assets.Apply(ctx, m.ID, machine.Event{Kind: machine.Image}); err != nil {
		return err
	}
	config := spec.config(&m, a.Network, run.Request.ID)
	hint := spec.Disk
	hint.MinBytes = max(hint.MinBytes, img.MinDisk) // which the agent knows nothing of
	j := job.Job{Kind: job.Deploy, Deploy: &job.DeploySpec{Image: img.Ref, Disk: hint, Layout: spec.Layout,
		Config: config, ReadBack: !spec.SkipReadBack}}
	result, err := a.do(ctx, run, j, func(phase string) error {
		if phase == "configure" {
			return a.Assets.Apply(ctx, m.ID, machine.Event{Kind: machine.Configure})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.written(ctx, m.ID, &spec, img, result.Deploy)
}

// written records what is on the machine now.
func (a *Actuator) written(ctx context.Context, id string, spec *Spec, img Image, d *job.Deployed) error {
	if d == nil {
		return &change.Problem{Code: "internal", Detail: "the agent's deployment has no result"}
	}
	users := []string{spec.User}
	for _, u := range spec.Users {
		users = append(users, u.Name)
	}
	return a.Assets.Change(ctx, id, func(_ *store.Tx, m *asset.Machine) error {
		if m.Status.State == machine.Imaging { // a report of the phase may have been missed
			if err := m.Apply(machine.Event{Kind: machine.Configure}, a.Now()); err != nil {
				return err
			}
		}
		m.Server = &asset.Server{Hostname: spec.Hostname, Image: img.Name, Digest: img.Ref.ManifestDigest,
			Users: users, HostKeys: d.HostKeys, Disk: d.Disk, DiskSerial: d.Serial, Deployed: a.Now()}
		return nil
	})
}

// restartIntoDisk lets the machine through to its disk and restarts it.
func (a *Actuator) restartIntoDisk(ctx context.Context, run *change.Run) error {
	id := run.Request.Machine
	if err := a.Assets.Apply(ctx, id, machine.Event{Kind: machine.Verify}); err != nil {
		return err
	}
	alive, err := a.Agents.Alive(ctx, id)
	if err != nil {
		return err
	}
	if alive {
		j := job.Job{ID: run.Request.ID + "-restart", Kind: job.Reboot}
		if d, ok := ctx.Deadline(); ok {
			j.Deadline = d.UTC()
		}
		_, err := a.Agents.Do(ctx, id, j, nil)
		if err == nil {
			return a.Agents.Reset(ctx, id)
		}
		if !errors.Is(err, agent.ErrLost) {
			run.Log.Warn("agent did not restart the machine; cutting its power", "error", err)
		}
		if err := a.Agents.Reset(ctx, id); err != nil {
			return err
		}
	}
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	return problem(a.cycle(ctx, run, &m))
}

// activate hands the machine over.
func (a *Actuator) activate(ctx context.Context, run *change.Run) error {
	return a.Assets.Apply(ctx, run.Request.Machine, machine.Event{Kind: machine.Activate})
}
