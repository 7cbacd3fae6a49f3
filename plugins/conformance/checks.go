package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

// PDUChecks lists what a driver of PDUs promises.
func PDUChecks() []Check {
	return []Check{
		{"identity", "Probe tells who the device is, and as many outlets as List lists.", reading, checkIdentity},
		{"list", "Every outlet has an ID of its own, and the list is the same each time.", reading, checkList},
		{"get", "Every listed outlet can be read by its ID, one by one and together.", reading, checkGet},
		{"unknown outlet", "Reading an outlet that does not exist fails with not found: it is not off.", reading, checkUnknownGet},
		{"deadline", "A call ends by its deadline, however short.", reading, checkDeadline},
		{"many reads", "Many calls at once are all answered.", reading, checkManyReads},
		{"unknown outlet set", "Switching an outlet that does not exist fails with not found.", switching, checkUnknownSet},
		{"set", "A change is read back; repeated, it is already so.", switching, checkSet},
		{"dry run", "A dry run changes nothing.", switching, checkDryRun},
		{"stale generation", "A caller with an older generation is refused and changes nothing.", switching, checkStale},
		{"operation", "An operation ID is not used for two things, and a change needs one.", switching, checkOperation},
		{"many calls", "Many reads and changes at once end in the state of the newest change.", switching, checkManyCalls},
		{"error but done", "A device's error does not hide that it did as told.", failing, checkErrorButDone},
		{"refusal", "A refused change is an error with the device's own code, and changes nothing.", failing, checkRefusal},
		{"dead outlet", "An outlet that never moves is never said to have moved.", failing, checkDead},
		{"unreadable outlet", "An outlet that reads neither on nor off is unknown, and is not switched.", failing, checkUnreadable},
		{"lost reply", "A lost answer neither fails nor doubles a change.", failing, checkLostReply},
		{"silent device", "A device that does not answer is unreachable, and works once it answers again.", failing, checkSilent},
	}
}

func checkIdentity(ctx context.Context, b *bench) error {
	id, err := b.Probe(ctx)
	if err != nil {
		return err
	}
	if id.Vendor == "" || id.Family == "" {
		return fmt.Errorf("it tells no vendor or no family: %+v", id)
	}
	outlets, err := b.List(ctx)
	if err != nil {
		return err
	}
	if id.Outlets != 0 && id.Outlets != len(outlets) {
		return fmt.Errorf("it tells %d outlets and lists %d", id.Outlets, len(outlets))
	}
	return nil
}

func checkList(ctx context.Context, b *bench) error {
	first, err := b.ids(ctx)
	if err != nil {
		return err
	}
	second, err := b.ids(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(first, second) {
		return fmt.Errorf("two lists differ: %v and %v", first, second)
	}
	seen := map[string]bool{}
	for _, id := range first {
		if id == "" || seen[id] {
			return fmt.Errorf("ID %q is empty or listed twice", id)
		}
		seen[id] = true
	}
	return nil
}

// ids lists the outlets' IDs; a device without any is an error.
func (b *bench) ids(ctx context.Context) ([]string, error) {
	outlets, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(outlets) == 0 {
		return nil, errors.New("no outlets are listed")
	}
	ids := make([]string, len(outlets))
	for i, o := range outlets {
		ids[i] = o.ID
	}
	return ids, nil
}

func checkGet(ctx context.Context, b *bench) error {
	outlets, err := b.List(ctx)
	if err != nil {
		return err
	}
	ids := make([]string, len(outlets))
	for i, o := range outlets {
		ids[i] = o.ID
	}
	readings, err := b.GetMany(ctx, ids)
	if err != nil {
		return err
	}
	for i, r := range readings {
		if r.Err != nil {
			return fmt.Errorf("listed outlet %s: %w", r.ID, r.Err)
		}
		if r.State != outlets[i].State && !b.opts.Volatile {
			return fmt.Errorf("outlet %s is listed as %s and read as %s", r.ID, outlets[i].State, r.State)
		}
	}
	state, err := b.Get(ctx, ids[0])
	if err == nil && state != outlets[0].State && !b.opts.Volatile {
		return fmt.Errorf("outlet %s is listed as %s and read alone as %s", ids[0], outlets[0].State, state)
	}
	return err
}

// wants checks that err is an error of one of the reasons.
func wants(err error, reasons ...device.Reason) error {
	e, ok := errors.AsType[*device.Error](err)
	switch {
	case err == nil:
		return fmt.Errorf("no error, want %v", reasons)
	case !ok:
		return fmt.Errorf("an error without a reason: %w", err)
	case !slices.Contains(reasons, e.Reason):
		return fmt.Errorf("want %v, got %s: %w", reasons, e.Reason, err)
	}
	return nil
}

func checkUnknownGet(ctx context.Context, b *bench) error {
	for _, id := range b.opts.Unknown {
		state, err := b.Get(ctx, id)
		if bad := wants(err, device.NotFound); bad != nil {
			return fmt.Errorf("outlet %q (read as %s): %w", id, state, bad)
		}
	}
	known, err := b.ids(ctx)
	if err != nil {
		return err
	}
	readings, err := b.GetMany(ctx, []string{known[0], b.opts.Unknown[0]})
	if err != nil {
		return fmt.Errorf("a known and an unknown outlet together: %w", err)
	}
	if readings[0].Err != nil {
		return fmt.Errorf("the unknown outlet hides the known: %w", readings[0].Err)
	}
	if readings[1].Err == nil || readings[1].Err.Reason != device.NotFound {
		return fmt.Errorf("the unknown outlet beside a known one reads %s, error %v", readings[1].State, readings[1].Err)
	}
	return nil
}

func checkDeadline(ctx context.Context, b *bench) error {
	for _, limit := range []time.Duration{time.Nanosecond, time.Millisecond, 5 * time.Millisecond} {
		short, cancel := context.WithTimeout(ctx, limit)
		begun := time.Now()
		_, err := b.List(short)
		took := time.Since(begun)
		cancel()
		if took > limit+2*time.Second {
			return fmt.Errorf("a call with a deadline of %v took %v", limit, took)
		}
		if err != nil {
			if bad := wants(err, device.Unreachable, device.Busy); bad != nil {
				return fmt.Errorf("a call with a deadline of %v: %w", limit, bad)
			}
		}
	}
	if _, err := b.List(ctx); err != nil {
		return fmt.Errorf("after cut-off calls: %w", err)
	}
	return nil
}

func checkUnknownSet(ctx context.Context, b *bench) error {
	for _, id := range b.opts.Unknown {
		c := b.change(false)
		c.Outlet = id
		_, err := b.Set(ctx, c)
		if bad := wants(err, device.NotFound); bad != nil {
			return fmt.Errorf("outlet %q: %w", id, bad)
		}
	}
	return nil
}

func checkSet(ctx context.Context, b *bench) error {
	for _, on := range []bool{false, true, false, true} {
		result, err := b.Set(ctx, b.change(on))
		if err != nil {
			return err
		}
		if result.Outcome != device.OutcomeApplied && result.Outcome != device.OutcomePending {
			return fmt.Errorf("a change to %s came out as %s", device.Settled(on), result.Outcome)
		}
		if result.Before != device.Settled(!on) {
			return fmt.Errorf("before a change to %s it was %s", device.Settled(on), result.Before)
		}
		if err := b.await(ctx, device.Settled(on)); err != nil {
			return err
		}
		again, err := b.Set(ctx, b.change(on))
		if err != nil || again.Outcome != device.OutcomeAlready {
			return fmt.Errorf("the change repeated came out as %s, %v", again.Outcome, err)
		}
	}
	return nil
}

func checkDryRun(ctx context.Context, b *bench) error {
	c := b.change(false)
	c.DryRun = true
	result, err := b.Set(ctx, c)
	if err != nil {
		return err
	}
	if result.Outcome != device.OutcomeApplied || result.After != result.Before {
		return fmt.Errorf("a dry run came out as %+v", result)
	}
	time.Sleep(50 * time.Millisecond) // for a command that should not have been sent
	return b.stays(ctx, device.StateOn)
}

// stays checks that the outlet reads want now.
func (b *bench) stays(ctx context.Context, want device.State) error {
	state, err := b.Get(ctx, b.opts.Outlet)
	if err != nil {
		return err
	}
	if state != want {
		return fmt.Errorf("outlet %s reads %s, want %s", b.opts.Outlet, state, want)
	}
	return nil
}

func checkStale(ctx context.Context, b *bench) error {
	b.opts.Generation += 2
	if _, err := b.Set(ctx, b.change(true)); err != nil {
		return err
	}
	c := b.change(false)
	c.Generation--
	_, err := b.Set(ctx, c)
	if bad := wants(err, device.StaleGeneration); bad != nil {
		return bad
	}
	return b.stays(ctx, device.StateOn)
}

func checkOperation(ctx context.Context, b *bench) error {
	c := b.change(true)
	if _, err := b.Set(ctx, c); err != nil {
		return err
	}
	c.On = false
	_, err := b.Set(ctx, c)
	if bad := wants(err, device.Conflict); bad != nil {
		return bad
	}
	c.OperationID = ""
	_, err = b.Set(ctx, c)
	if bad := wants(err, device.Rejected); bad != nil {
		return bad
	}
	return b.stays(ctx, device.StateOn)
}
