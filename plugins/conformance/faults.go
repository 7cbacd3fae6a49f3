package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

func checkErrorButDone(ctx context.Context, b *bench) error {
	b.opts.Faults.ErrorButDone(b.opts.Outlet)
	result, err := b.Set(ctx, b.change(false))
	if err != nil {
		return fmt.Errorf("the device did as told, but: %w", err)
	}
	if result.DeviceCode == "" {
		return errors.New("the device's error is not told")
	}
	return b.await(ctx, device.StateOff)
}

func checkRefusal(ctx context.Context, b *bench) error {
	b.opts.Faults.Refusing(b.opts.Outlet)
	_, err := b.Set(ctx, b.change(false))
	if bad := wants(err, device.Rejected, device.Busy, device.Auth); bad != nil {
		return bad
	}
	if e, _ := errors.AsType[*device.Error](err); e.DeviceCode == "" || !e.StateKnown {
		return fmt.Errorf("device code %q, state known %v", e.DeviceCode, e.StateKnown)
	}
	return b.stays(ctx, device.StateOn)
}

func checkDead(ctx context.Context, b *bench) error {
	b.opts.Faults.Dead(b.opts.Outlet)
	result, err := b.Set(ctx, b.change(false))
	if err == nil && (result.Outcome == device.OutcomeApplied || result.Outcome == device.OutcomeAlready || result.After == device.StateOff) {
		return fmt.Errorf("an outlet that did not move came out as %+v", result)
	}
	return b.stays(ctx, device.StateOn)
}

func checkUnreadable(ctx context.Context, b *bench) error {
	b.opts.Faults.Unreadable(b.opts.Outlet)
	if err := b.stays(ctx, device.StateUnknown); err != nil {
		return err
	}
	for _, on := range []bool{false, true} {
		_, err := b.Set(ctx, b.change(on))
		if bad := wants(err, device.Ambiguous); bad != nil {
			return bad
		}
	}
	b.opts.Faults.Heal()
	return b.stays(ctx, device.StateOn)
}

func checkLostReply(ctx context.Context, b *bench) error {
	b.opts.Faults.LoseReplies(1)
	result, err := b.Set(ctx, b.change(false))
	if err != nil {
		return err
	}
	if result.Outcome != device.OutcomeApplied && result.Outcome != device.OutcomePending {
		return fmt.Errorf("it came out as %s", result.Outcome)
	}
	return b.await(ctx, device.StateOff)
}

func checkSilent(ctx context.Context, b *bench) error {
	b.opts.Faults.Silent()
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := b.Set(short, b.change(false))
	if bad := wants(err, device.Unreachable); bad != nil {
		return bad
	}
	if e, _ := errors.AsType[*device.Error](err); !e.Retryable {
		return errors.New("it is not said to be worth another try")
	}
	b.opts.Faults.Heal()
	return b.reach(ctx, true)
}

// together runs calls at once and returns their errors.
func together(n int, call func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = call(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func checkManyReads(ctx context.Context, b *bench) error {
	ids, err := b.ids(ctx)
	if err != nil {
		return err
	}
	return together(b.opts.Calls, func(i int) error {
		_, err := b.Get(ctx, ids[i%len(ids)])
		return err
	})
}

func checkManyCalls(ctx context.Context, b *bench) error {
	changes := make([]device.Change, b.opts.Calls)
	for i := range changes {
		b.opts.Generation++
		changes[i] = b.change(i%4 == 1)
	}
	newest := changes[len(changes)-1]
	err := together(b.opts.Calls, func(i int) error {
		if i%2 == 0 { // reads and changes by turns; the newest is a change
			_, err := b.Get(ctx, b.opts.Outlet)
			return err
		}
		_, err := b.Set(ctx, changes[i])
		if err != nil && wants(err, device.StaleGeneration) == nil {
			return nil // overtaken by a newer one
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.await(ctx, device.Settled(newest.On))
}
