package deploy

import (
	"context"
	"fmt"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// RescueSpec is what is asked for when a machine is put into rescue.
type RescueSpec struct {
	// SSHKeys may log in as root.
	SSHKeys []string `json:"ssh_keys" doc:"authorized_keys lines that may log in as root"`
}

// ReleaseSpec qualifies a release.
type ReleaseSpec struct {
	// Inspect takes the inventory before the wipe.
	Inspect bool `json:"inspect,omitempty"`
}

// Refusal says that a request makes no sense for a machine as it stands.
type Refusal struct{ Err error }

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// AskDeploy checks a deployment and makes an ask of it. What cannot work on this
// machine is refused before its power is touched.
func (a *Actuator) AskDeploy(ctx context.Context, id string, spec Spec) (change.Ask, change.Admit, error) {
	img, err := a.Images.Resolve(ctx, spec.Image)
	if err != nil {
		return change.Ask{}, nil, &Refusal{err}
	}
	m, err := a.Assets.Machine(ctx, id)
	if err != nil {
		return change.Ask{}, nil, err
	}
	// Whether the machine may be taken is for the admission to say: an ask that is
	// repeated with its idempotency key finds the machine taken by itself.
	if err := spec.check(&m, img, a.Network); err != nil {
		return change.Ask{}, nil, &Refusal{err}
	}
	spec.Image = img.Name // the version is fixed when the request is accepted
	return change.Ask{Kind: change.Deploy, Machine: id, Spec: spec}, a.admit(machine.Event{Kind: machine.Reserve}), nil
}

// AskInspect makes an ask for an inspection.
func (a *Actuator) AskInspect(id string) (change.Ask, change.Admit) {
	return change.Ask{Kind: change.Inspect, Machine: id, Spec: struct{}{}}, func(m *asset.Machine) error {
		return a.admitFrom(machine.Event{Kind: machine.Inspect, Clean: !m.Dirty})(m)
	}
}

// AskRelease makes an ask for a release: from its acceptance on, the machine's
// old system cannot boot.
func (a *Actuator) AskRelease(id string) (change.Ask, change.Admit) {
	return change.Ask{Kind: change.Release, Machine: id, Spec: ReleaseSpec{}}, a.admit(machine.Event{Kind: machine.Release})
}

// AskRestore makes an ask for the wipe that ends maintenance. Disks may have
// been changed meanwhile, so it begins with the inventory that the wipe is held
// against.
func (a *Actuator) AskRestore(id string) (change.Ask, change.Admit) {
	return change.Ask{Kind: change.Release, Machine: id, Spec: ReleaseSpec{Inspect: true}}, a.admit(machine.Event{Kind: machine.Restore})
}

// AskRescue makes an ask for the rescue system.
func (a *Actuator) AskRescue(id string, spec RescueSpec) (change.Ask, change.Admit, error) {
	if len(spec.SSHKeys) == 0 {
		return change.Ask{}, nil, &Refusal{fmt.Errorf("rescue of machine %s: ssh_keys is empty: nobody could log in", id)}
	}
	trimKeys(spec.SSHKeys)
	if err := (job.User{Name: "root", SSHKeys: spec.SSHKeys}).Validate(); err != nil {
		return change.Ask{}, nil, &Refusal{err}
	}
	return change.Ask{Kind: change.Rescue, Machine: id, Spec: spec}, a.admitFrom(machine.Event{Kind: machine.EnterRescue}), nil
}

// AskUnrescue makes an ask for the way back from rescue.
func (a *Actuator) AskUnrescue(id string) (change.Ask, change.Admit) {
	return change.Ask{Kind: change.Unrescue, Machine: id, Spec: struct{}{}}, a.require(machine.Rescue)
}

// AskPower makes an ask to restart, start or stop an active machine.
func (a *Actuator) AskPower(kind change.Kind, id string) (change.Ask, change.Admit) {
	return change.Ask{Kind: kind, Machine: id, Spec: struct{}{}}, a.require(machine.Active)
}

// admitFrom is admit that remembers where the machine stood, to bring it back.
func (a *Actuator) admitFrom(e machine.Event) change.Admit {
	return func(m *asset.Machine) error {
		former := m.Status
		if err := a.admit(e)(m); err != nil {
			return err
		}
		m.Former = former
		return nil
	}
}

func (a *Actuator) admit(e machine.Event) change.Admit {
	return func(m *asset.Machine) error {
		if err := m.Apply(e, a.Now()); err != nil {
			return &Refusal{err}
		}
		return nil
	}
}

func (a *Actuator) require(states ...machine.State) change.Admit {
	return func(m *asset.Machine) error {
		for _, s := range states {
			if m.Status.State == s {
				return nil
			}
		}
		return &Refusal{fmt.Errorf("machine %s is %s; that is for machines that are %v", m.ID, m.Status.State, states)}
	}
}
