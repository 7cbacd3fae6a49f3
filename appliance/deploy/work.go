package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
			Retry: jp.Retry, Action: advice(jp.Code), Person: jp.Code == "disk-io" || jp.Code == "wipe-unverified"}
	}
	if err := errors.Join(err, phaseErr); err != nil {
		return nil, problem(err)
	}
	return result, nil
}

// advice says what to do about an agent's problem.
func advice(code string) string {
	switch code {
	case "image-digest", "image-truncated":
		return "verify the image (gantry image verify) and import it again if it is damaged"
	case "image-signature":
		return "the image is not signed by this appliance's library: import it again"
	case "disk-too-small", "disk-not-found":
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
	config, err := a.config(&spec, &m, run.Request.ID)
	if err != nil {
		return err
	}
	j := job.Job{Kind: job.Deploy, Deploy: &job.DeploySpec{Image: img.Ref, Disk: spec.Disk, Layout: spec.Layout,
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
			Users: users, HostKeys: d.HostKeys, Disk: d.Disk, Deployed: a.Now()}
		return nil
	})
}

// config is what makes the written system this server.
func (a *Actuator) config(spec *Spec, m *asset.Machine, instance string) (job.Config, error) {
	c := job.Config{Hostname: spec.Hostname, InstanceID: instance, NICs: spec.NICs, DNS: spec.DNS, UserData: spec.UserData,
		Users: append([]job.User{{Name: spec.User, SSHKeys: spec.SSHKeys, Sudo: true}}, spec.Users...)}
	if len(c.NICs) == 0 {
		nic := job.NIC{MAC: m.BootMAC(), Addresses: []string{netip.PrefixFrom(m.Address, a.Network.Prefix.Bits()).String()}}
		if a.Network.Gateway.IsValid() {
			nic.Gateway = a.Network.Gateway.String()
		}
		c.NICs = []job.NIC{nic}
	}
	if len(c.DNS) == 0 {
		for _, d := range a.Network.DNS {
			c.DNS = append(c.DNS, d.String())
		}
	}
	return c, nil
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

func (a *Actuator) wipe(ctx context.Context, run *change.Run) error {
	result, err := a.do(ctx, run, job.Job{Kind: job.Wipe, Wipe: &job.WipeSpec{Method: "best"}}, nil)
	if err != nil {
		return err
	}
	if len(result.Wiped) == 0 {
		return &change.Problem{Code: "wipe-unverified", Person: true, Action: "look at the machine's disks",
			Detail: fmt.Sprintf("machine %s: the agent's wipe names no disk", run.Request.Machine)}
	}
	return a.Assets.Change(ctx, run.Request.Machine, func(_ *store.Tx, m *asset.Machine) error {
		m.Wiped = result.Wiped
		return nil
	})
}

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
	for _, step := range []func(context.Context, *change.Run) error{a.wipe, a.powerOff, a.free} {
		if err := step(ctx, run); err != nil {
			return err
		}
	}
	return nil
}

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
		m.Status.Reason = "rescue system at root@" + result.Rescue.Address
		return nil
	})
}

func (a *Actuator) leaveRescue(ctx context.Context, run *change.Run) error {
	return a.Assets.Apply(ctx, run.Request.Machine, machine.Event{Kind: machine.LeaveRescue})
}
