package snmp

import (
	"context"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

const (
	// firstPoll is between a command and the second look at the outlet; it is
	// doubled each time, up to slowPoll.
	firstPoll = 40 * time.Millisecond
	slowPoll  = 500 * time.Millisecond
)

// SetOutlet reads, writes, and reads back until the outlet is as asked or the
// target's settle time is over. An outlet that is on its way already gets that
// time first; an immediate command then takes the place of the one that pends,
// which some devices keep for ever.
func (d *driver) SetOutlet(ctx context.Context, t device.Target, c device.Change) (device.Result, error) {
	s, f, err := d.device(ctx, t)
	if err != nil {
		return device.Result{}, err
	}
	before, err := s.readable(ctx, f.family, c.Outlet)
	if err != nil {
		return device.Result{}, err
	}
	if before == device.Settled(c.On) {
		return device.Result{Before: before, After: before, Outcome: device.OutcomeAlready}, nil
	}
	if c.DryRun {
		return device.Result{Before: before, After: before, Outcome: device.OutcomeApplied}, nil
	}
	if before == device.Moving(c.On) { // it is on its way already, unless the device has lost that
		after, err := s.settle(ctx, f.family, c)
		if err != nil || after != before {
			return s.conclude(c, before, after, attempt{}, err)
		}
	}
	sent := s.command(ctx, f.family, c.Outlet, f.family.command(c.On), true)
	after, err := s.settle(ctx, f.family, c)
	return s.conclude(c, before, after, sent, err)
}

// readable reads an outlet that is to be changed, and refuses one whose state
// nobody could confirm afterwards.
func (s *session) readable(ctx context.Context, f *family, id string) (device.State, error) {
	before, err := s.state(ctx, f, id)
	if err != nil {
		return before, err
	}
	switch before {
	case device.StateUnknown:
		return before, device.Errorf(device.Ambiguous, "PDU %s: the state of outlet %s cannot be read, so it is not switched", s.name, id)
	case device.StateAbsent:
		return before, device.Errorf(device.Unsupported, "PDU %s: outlet %s is not fitted", s.name, id)
	}
	return before, nil
}

// attempt is how the device took a command.
type attempt struct {
	status gosnmp.SNMPError // what it answered
	err    error            // why there was no answer
}

func (s *session) command(ctx context.Context, f *family, id string, value int, retry bool) attempt {
	status, err := s.set(ctx, f.control+"."+id, value, retry)
	return attempt{status, err}
}

func (a attempt) code() string {
	if a.err == nil && a.status != gosnmp.NoError {
		return statusCode(a.status)
	}
	return ""
}

// settle reads the outlet until it is as asked, or the settle time is over, or
// the deadline is near. The last state read is returned.
func (s *session) settle(ctx context.Context, f *family, c device.Change) (device.State, error) {
	end := time.Now().Add(s.cfg.settle())
	wait := firstPoll
	for {
		state, err := s.state(ctx, f, c.Outlet)
		if err != nil || state == device.Settled(c.On) {
			return state, err
		}
		if deadline, ok := ctx.Deadline(); time.Now().Add(wait).After(end) || ok && time.Now().Add(2*wait).After(deadline) {
			return state, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return state, nil
		}
		wait = min(2*wait, slowPoll)
	}
}

// conclude says what became of a change, from what was read and answered:
// what was read wins.
func (s *session) conclude(c device.Change, before, after device.State, sent attempt, readErr error) (device.Result, error) {
	result := device.Result{Before: before, After: after, DeviceCode: sent.code()}
	switch {
	case readErr != nil:
		e := device.Errorf(device.Unreachable, "PDU %s: outlet %s was commanded and cannot be read back: %w", s.name, c.Outlet, readErr)
		e.StateKnown, e.DeviceCode = false, sent.code()
		return device.Result{}, e
	case after == device.Settled(c.On):
		result.Outcome = device.OutcomeApplied
	case after == device.Moving(c.On):
		result.Outcome = device.OutcomePending
	case after == device.StateUnknown:
		e := device.Errorf(device.Ambiguous, "PDU %s: outlet %s was commanded and its state cannot be read any more", s.name, c.Outlet)
		e.StateKnown, e.DeviceCode = false, sent.code()
		return device.Result{}, e
	case sent.err != nil:
		e := device.Errorf(device.Unreachable, "PDU %s: no answer to the command for outlet %s, which is still %s: %w", s.name, c.Outlet, after, sent.err)
		if refused := device.AsError(sent.err); refused.Reason == device.Auth {
			e.Reason, e.Retryable = device.Auth, false
		}
		return device.Result{}, e
	case sent.status != gosnmp.NoError:
		return device.Result{}, s.refusal("switch outlet "+c.Outlet, sent.status)
	default: // accepted, not moved yet, and the device does not tell that it will
		result.Outcome = device.OutcomePending
	}
	return result, nil
}

// CycleOutlet has the device switch an outlet off and on. The command is sent
// once: a lost answer is not a reason to cut the power twice.
func (d *driver) CycleOutlet(ctx context.Context, t device.Target, c device.Change) (device.Result, error) {
	s, f, err := d.device(ctx, t)
	if err != nil {
		return device.Result{}, err
	}
	if f.family.cycle == 0 {
		return device.Result{}, device.Errorf(device.Unsupported, "PDU %s: a %s cannot cycle an outlet", s.name, f.family.name)
	}
	before, err := s.readable(ctx, f.family, c.Outlet)
	if err != nil {
		return device.Result{}, err
	}
	if c.DryRun {
		return device.Result{Before: before, After: before, Outcome: device.OutcomeApplied}, nil
	}
	sent := s.command(ctx, f.family, c.Outlet, f.family.cycle, false)
	after, err := s.state(ctx, f.family, c.Outlet)
	result := device.Result{Before: before, After: after, DeviceCode: sent.code()}
	switch {
	case err != nil:
		e := device.Errorf(device.Unreachable, "PDU %s: outlet %s was told to cycle and cannot be read back: %w", s.name, c.Outlet, err)
		e.StateKnown = false
		return device.Result{}, e
	case after != before: // off or about to be: it is under way
		result.Outcome = device.OutcomePending
	case sent.err == nil && sent.status != gosnmp.NoError:
		return device.Result{}, s.refusal("cycle outlet "+c.Outlet, sent.status)
	default: // accepted or unanswered, and nothing to be seen of it
		result.Outcome = device.OutcomeUnknown
	}
	return result, nil
}
