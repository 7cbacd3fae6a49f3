// Package power switches machines on and off through the outlets that feed
// them. It decides nothing about why. What always holds: an outlet is read
// before it is switched, an outlet whose state is not known is never switched,
// every wait is bounded, and a machine counts as off only when all of its feeds
// were read as off.
package power

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
)

// State is what an outlet was read as.
type State string

// The states of an outlet.
const (
	On         State = "on"
	Off        State = "off"
	PendingOn  State = "pending-on"
	PendingOff State = "pending-off"
	Absent     State = "absent"
	Unknown    State = "unknown"
)

// Outlets reads and switches the outlets of one PDU.
type Outlets interface {
	// Get reads one outlet. An outlet that the device does not have is Absent or
	// an error, never Off.
	Get(ctx context.Context, outlet string) (State, error)
	// Set switches one outlet and returns when the device took the command; it may
	// still be pending. It is idempotent. op is new for each command and
	// identifies it in the device's and the driver's logs. An error whose
	// StateUnknown() is true leaves open whether the device took it: the outlet is
	// then read until it is as wanted or its time is up.
	Set(ctx context.Context, outlet string, on bool, op string) error
}

// Devices finds the PDU called id.
type Devices interface {
	Outlets(ctx context.Context, id string) (Outlets, error)
}

// Error is a failure to switch, with what is known of the outlet.
type Error struct {
	Feed asset.Feed
	// State is what the outlet was last read as.
	State State
	// Unknown says that the outlet answered something that is neither on nor off,
	// so nothing was switched and a person has to look.
	Unknown bool
	// Retry says that trying again may help.
	Retry bool
	Err   error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("outlet %s of pdu %s (read as %s): %v", e.Feed.Outlet, e.Feed.PDU, e.State, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Limits bounds the actuator's waits.
type Limits struct {
	// Call bounds one question to a device; Settle is how long an outlet may take
	// to reach the state that it was told; Poll is how often it is asked; OffFor is
	// how long a machine stays off in a restart, for its supplies to drain.
	Call, Settle, Poll, OffFor time.Duration
}

// DefaultLimits suit PDUs that answer within a second and switch with a delay
// of up to some tens of seconds.
func DefaultLimits() Limits {
	return Limits{Call: 10 * time.Second, Settle: 90 * time.Second, Poll: 500 * time.Millisecond, OffFor: 2 * time.Second}
}

// Restart is how long the restart of a machine with so many feeds may take:
// each is read and told on the way down and on the way up.
func (l Limits) Restart(feeds int) time.Duration {
	return 2*(time.Duration(2*feeds)*l.Call+l.Settle+l.Poll+l.Call) + l.OffFor
}

// Actuator switches machines. It is safe for concurrent use on different
// machines; a machine's lock keeps two requests from using it on one.
type Actuator struct {
	devices Devices
	limits  Limits
	log     *slog.Logger
}

// New makes an actuator.
func New(devices Devices, limits Limits, log *slog.Logger) *Actuator {
	return &Actuator{devices: devices, limits: limits, log: log}
}

// Say is told each thing that the actuator does, one line for people.
type Say func(line string)

// Get reads all feeds of a machine.
func (a *Actuator) Get(ctx context.Context, m *asset.Machine) (map[asset.Feed]State, error) {
	states := map[asset.Feed]State{}
	for _, f := range m.Power {
		s, err := a.get(ctx, f)
		if err != nil {
			return states, err
		}
		states[f] = s
	}
	return states, nil
}

// Restart switches a machine off, waits until every feed is off, switches it on
// and waits until every feed is on: get, and on unknown stop; on, then off, poll
// until off; on, poll until on.
func (a *Actuator) Restart(ctx context.Context, m *asset.Machine, op string, say Say) error {
	if err := a.Off(ctx, m, op, say); err != nil {
		return err
	}
	if err := sleep(ctx, a.limits.OffFor); err != nil {
		return err
	}
	return a.On(ctx, m, op, say)
}

// Off switches all feeds of a machine off and returns when all were read as off.
func (a *Actuator) Off(ctx context.Context, m *asset.Machine, op string, say Say) error {
	return a.bring(ctx, m, Off, op, say)
}

// On switches all feeds of a machine on and returns when all were read as on.
func (a *Actuator) On(ctx context.Context, m *asset.Machine, op string, say Say) error {
	return a.bring(ctx, m, On, op, say)
}

// bring reads all feeds before it touches any: one that is not known stops the
// whole operation with nothing switched.
func (a *Actuator) bring(ctx context.Context, m *asset.Machine, want State, op string, say Say) error {
	if len(m.Power) == 0 {
		return fmt.Errorf("machine %s: %w", m.ID, ErrNoOutlet)
	}
	states := make([]State, len(m.Power))
	for i, f := range m.Power {
		s, err := a.get(ctx, f)
		if err != nil {
			return err
		}
		switch s {
		case On, Off, PendingOn, PendingOff:
			states[i] = s
		default:
			return &Error{Feed: f, State: s, Unknown: true,
				Err: errors.New("the state is not known, so nothing was switched; look at the PDU")}
		}
	}
	doubts := make([]*Error, len(m.Power))
	for i, f := range m.Power {
		if states[i] == want {
			say(fmt.Sprintf("outlet %s of %s is %s already", f.Outlet, f.PDU, want))
			continue
		}
		say(fmt.Sprintf("outlet %s of %s: %s, switching %s", f.Outlet, f.PDU, states[i], want))
		err := a.set(ctx, f, want, op)
		if errors.As(err, &doubts[i]) && stateUnknown(err) {
			say(fmt.Sprintf("outlet %s of %s: it is not known whether it switches: %v", f.Outlet, f.PDU, err))
			continue
		}
		if err != nil {
			return err
		}
	}
	// All were told by now, and have the same time to get there.
	settle, cancel := context.WithTimeoutCause(ctx, a.limits.Settle, errNotSettled)
	defer cancel()
	for i, f := range m.Power {
		if states[i] == want {
			continue
		}
		if err := a.settle(settle, f, want, doubts[i]); err != nil {
			return err
		}
		say(fmt.Sprintf("outlet %s of %s is %s", f.Outlet, f.PDU, want))
	}
	a.log.Info("machine switched", "machine", m.ID, "to", want, "operation", op)
	return nil
}

// ErrNoOutlet says that a machine has no outlet in the inventory.
var ErrNoOutlet = errors.New("has no outlet in the inventory; add its power feeds, or switch it by hand")

func (a *Actuator) get(ctx context.Context, f asset.Feed) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, a.limits.Call)
	defer cancel()
	pdu, err := a.devices.Outlets(ctx, f.PDU)
	if err != nil {
		return Unknown, &Error{Feed: f, State: Unknown, Err: err}
	}
	s, err := pdu.Get(ctx, f.Outlet)
	if err != nil {
		return Unknown, &Error{Feed: f, State: Unknown, Retry: retryable(err), Err: err}
	}
	return s, nil
}

func (a *Actuator) set(ctx context.Context, f asset.Feed, want State, op string) error {
	ctx, cancel := context.WithTimeout(ctx, a.limits.Call)
	defer cancel()
	pdu, err := a.devices.Outlets(ctx, f.PDU)
	if err != nil {
		return &Error{Feed: f, State: Unknown, Err: err}
	}
	// Each command is an operation of its own: a restart commands an outlet twice.
	if err := pdu.Set(ctx, f.Outlet, want == On, op+"-"+rand.Text()); err != nil {
		return &Error{Feed: f, State: Unknown, Retry: retryable(err), Err: fmt.Errorf("switching it %s: %w", want, err)}
	}
	return nil
}

// settle polls an outlet until it is as wanted. A question that fails is asked
// again until ctx's time is up: a reply may be lost. doubt is why it is not known
// whether the outlet was told at all.
func (a *Actuator) settle(ctx context.Context, f asset.Feed, want State, doubt *Error) error {
	last, lastErr := Unknown, error(nil)
	for {
		s, err := a.get(ctx, f)
		if err == nil && s == want {
			return nil
		}
		last, lastErr = s, err
		if err := sleep(ctx, a.limits.Poll); err != nil {
			if !errors.Is(context.Cause(ctx), errNotSettled) {
				return err
			}
			why := fmt.Errorf("told to go %s, and was not after %s; look at the PDU", want, a.limits.Settle)
			failed := &Error{Feed: f, State: last, Err: errors.Join(why, lastErr)}
			if doubt != nil {
				failed.Retry, failed.Err = doubt.Retry, errors.Join(why, doubt.Err, lastErr)
			}
			return failed
		}
	}
}

var errNotSettled = errors.New("outlet did not settle")

// retryable says whether a driver's error says of itself that trying again may
// help.
func retryable(err error) bool {
	var r interface{ CanRetry() bool }
	return errors.As(err, &r) && r.CanRetry()
}

// stateUnknown says whether a driver's error leaves open what became of a
// command.
func stateUnknown(err error) bool {
	var u interface{ StateUnknown() bool }
	return errors.As(err, &u) && u.StateUnknown()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
