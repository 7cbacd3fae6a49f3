package alert

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/store"
)

// backoff is how long to wait after the n-th failed try, from 10 s to an hour.
func backoff(n int) time.Duration {
	d := 10 * time.Second << min(n-1, 10)
	return min(d, time.Hour)
}

// sendTimeout bounds one delivery.
const sendTimeout = 30 * time.Second

// Run delivers alerts until ctx ends: each sink in a loop of its own, so that
// one that hangs holds up nobody else's, and records what is posted.
func (d *Desk) Run(ctx context.Context) error {
	if err := d.forgetSinks(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("alerts for sinks that are no longer configured not forgotten", "error", err)
	}
	var wg sync.WaitGroup
	for _, s := range d.sinks {
		wg.Go(func() { d.runSink(ctx, s) })
	}
	wg.Go(func() { d.record(ctx) })
	wg.Wait()
	return nil
}

// forgetSinks ends deliveries to sinks that the configuration had once.
func (d *Desk) forgetSinks(ctx context.Context) error {
	known := map[string]bool{}
	for _, s := range d.sinks {
		known[s.Name()] = true
	}
	return d.db.Update(ctx, func(tx *store.Tx) error {
		gone := map[string]bool{} // alerts with such a delivery
		for a, err := range d.t.due.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			for _, p := range a.Pending {
				if !known[p.Sink] {
					gone[a.ID] = true
				}
			}
		}
		for id := range gone {
			a, err := d.t.alerts.Get(tx, store.K(id))
			if err != nil {
				return err
			}
			var left []Delivery
			for _, p := range a.Pending {
				if known[p.Sink] {
					left = append(left, p)
				}
			}
			a.Pending = left
			if err := d.t.alerts.Put(tx, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// runSink delivers to one sink until ctx ends.
func (d *Desk) runSink(ctx context.Context, s Sink) {
	changed, stop := d.Watch()
	defer stop()
	for {
		next, err := d.deliverDue(ctx, s)
		if errors.Is(err, store.ErrFailed) {
			// What was sent can no longer be recorded: it would be sent for ever.
			d.log.Error("alerts are no longer delivered", "sink", s.Name(), "error", err)
			return
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("alerts not delivered", "sink", s.Name(), "error", err)
			next = d.now().Add(10 * time.Second)
		}
		var wake <-chan time.Time
		if !next.IsZero() {
			wake = time.After(max(next.Sub(d.now()), 10*time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-wake:
		}
	}
}

// deliverDue sends what is due to a sink, oldest first, and returns when its
// next delivery is, or zero.
func (d *Desk) deliverDue(ctx context.Context, s Sink) (next time.Time, err error) {
	for {
		var due *Alert
		due, next, err = d.nextDue(ctx, s.Name())
		if err != nil || due == nil {
			return next, err
		}
		if err := d.deliver(ctx, s, *due); err != nil {
			return next, err
		}
	}
}

// nextDue returns the alert that has been due to a sink for the longest time,
// or nil and when the next is, or zero.
func (d *Desk) nextDue(ctx context.Context, sink string) (due *Alert, next time.Time, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		due, next = nil, time.Time{}
		for a, err := range d.t.due.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			for _, p := range a.Pending {
				if p.Sink == sink && (next.IsZero() || p.Next.Before(next)) {
					due, next = &a, p.Next
				}
			}
		}
		return nil
	})
	if next.After(d.now()) {
		due = nil
	}
	return due, next, err
}

// deliver tries one alert's delivery to a sink and records the outcome.
func (d *Desk) deliver(ctx context.Context, s Sink, a Alert) error {
	sctx, cancel := context.WithTimeout(ctx, sendTimeout)
	failed := s.Send(sctx, a)
	cancel()
	return d.db.Update(ctx, func(tx *store.Tx) error {
		now, err := d.t.alerts.Get(tx, store.K(a.ID))
		if err != nil {
			return err
		}
		var left []Delivery
		for _, p := range now.Pending {
			if p.Sink == s.Name() {
				if failed == nil {
					continue
				}
				p.Tries++
				p.Error, p.Next = failed.Error(), d.now().Add(backoff(p.Tries))
				d.log.Warn("alert not delivered, trying again", "alert", a.ID, "sink", p.Sink, "tries", p.Tries, "error", failed)
			}
			left = append(left, p)
		}
		now.Pending = left
		return d.t.alerts.Put(tx, now)
	})
}
