package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/power"
)

// boot sees to it that the netboot agent runs on the machine: one that runs
// already will do.
func (a *Actuator) boot(ctx context.Context, run *change.Run) error {
	return problem(a.bring(ctx, run))
}

// freshBoot is boot for requests that must not use an agent from before them:
// until this step has seen the machine off and on again, whatever speaks for it
// may be a system of its tenant's.
func (a *Actuator) freshBoot(ctx context.Context, run *change.Run) error {
	if !restarted(&run.Request, run.Step) {
		if err := a.Agents.Reset(ctx, run.Request.Machine); err != nil {
			return err
		}
	}
	return problem(a.bring(ctx, run))
}

// restarted says whether an interrupted step had come past the power cycle.
func restarted(r *change.Request, step string) bool {
	for _, s := range r.Steps {
		if s.Name == step && !s.Undo {
			return slices.ContainsFunc(s.Phases, func(p change.Phase) bool { return p.Name == "firmware" })
		}
	}
	return false
}

// releaseBoot is freshBoot, and the inventory if it is asked for.
func (a *Actuator) releaseBoot(ctx context.Context, run *change.Run) error {
	var spec ReleaseSpec
	if err := run.Spec(&spec); err != nil {
		return err
	}
	if err := a.freshBoot(ctx, run); err != nil || !spec.Inspect {
		return err
	}
	return a.inspect(ctx, run)
}

// bring returns when an agent runs on the machine, which it switches off and on
// unless one does.
func (a *Actuator) bring(ctx context.Context, run *change.Run) error {
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	alive, err := a.Agents.Alive(ctx, m.ID)
	if err != nil || alive {
		return err
	}
	if err := a.Agents.Reset(ctx, m.ID); err != nil {
		return err
	}
	seen, stop := a.Sightings.Watch(m.BootMAC())
	defer stop()
	if err := a.cycle(ctx, run, &m); err != nil {
		return err
	}
	return a.awaitAgent(ctx, run, &m, seen)
}

// cycle switches the machine off and on. One without outlets in the inventory
// is left to the person that an alert calls; it may be switched on by hand.
func (a *Actuator) cycle(ctx context.Context, run *change.Run, m *asset.Machine) error {
	if err := run.Phase(ctx, "power"); err != nil {
		return err
	}
	err := a.Power.Restart(ctx, m, run.Request.ID, func(line string) { run.Say(change.Progress{Phase: "power", Message: line}) })
	if errors.Is(err, power.ErrNoOutlet) {
		run.Say(change.Progress{Phase: "power", Message: "no outlet in the inventory: switch the machine off and on by hand"})
		return nil
	}
	return err
}

// bootMessages say for people what a sighting means.
var bootMessages = map[string]string{
	boot.SawFirmware: "firmware asked for an address",
	boot.SawLoader:   "iPXE runs",
	boot.SawScript:   "boot script fetched",
	boot.SawKernel:   "kernel fetched",
	boot.SawInitrd:   "agent fetched",
}

// awaitAgent waits for the agent's first word and shows what is seen meanwhile.
// What is seen is recorded under the step's ctx: it may be seen as the wait ends.
func (a *Actuator) awaitAgent(ctx context.Context, run *change.Run, m *asset.Machine, seen <-chan boot.Sighting) error {
	wait, cancel := context.WithTimeoutCause(ctx, a.Times.Boot, errNoBoot)
	defer cancel()
	began := a.Now()
	if err := run.Phase(ctx, "firmware"); err != nil {
		return err
	}
	arrived := make(chan error, 1)
	go func() { arrived <- a.Agents.Await(wait, m.ID) }()
	last := "nothing was seen of it"
	for {
		select {
		case g := <-seen:
			last = fmt.Sprintf("the last that was seen is: %s, %s after power-on", bootMessages[g.What], g.At.Sub(began).Round(100*time.Millisecond))
			run.Say(change.Progress{Phase: g.What, Message: bootMessages[g.What]})
			if g.What != boot.SawFirmware {
				if err := run.Phase(ctx, g.What); err != nil {
					cancel()
					<-arrived
					return err
				}
			}
		case err := <-arrived:
			if err != nil && errors.Is(context.Cause(wait), errNoBoot) {
				return &change.Problem{Code: "no-boot", Retry: true, Person: true,
					Detail: fmt.Sprintf("machine %s did not start the netboot agent within %s: %s", m.ID, a.Times.Boot, last),
					Action: "look at its console; its firmware must try the network first, on the NIC with address " + m.BootMAC()}
			}
			return err
		}
	}
}

var errNoBoot = errors.New("the agent did not begin")

// powerOff, powerOn and powerCycle are the power steps.
func (a *Actuator) powerOff(ctx context.Context, run *change.Run) error {
	return a.withPower(ctx, run, a.Power.Off)
}

func (a *Actuator) powerOn(ctx context.Context, run *change.Run) error {
	return a.withPower(ctx, run, a.Power.On)
}

func (a *Actuator) powerCycle(ctx context.Context, run *change.Run) error {
	return a.withPower(ctx, run, a.Power.Restart)
}

func (a *Actuator) withPower(ctx context.Context, run *change.Run,
	do func(context.Context, *asset.Machine, string, power.Say) error) error {
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	if err := a.Agents.Reset(ctx, m.ID); err != nil {
		return err
	}
	err = do(ctx, &m, run.Request.ID, func(line string) { run.Say(change.Progress{Message: line}) })
	if errors.Is(err, power.ErrNoOutlet) && run.Request.Kind != change.Stop && (run.Step == "power-off" || run.Step == "clean-up") {
		run.Say(change.Progress{Message: "no outlet in the inventory: left switched on"})
		return nil
	}
	return problem(err)
}
