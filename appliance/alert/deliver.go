package alert

import (
	"context"
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

// Run delivers alerts until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	changed, stop := d.Watch()
	defer stop()
	for {
		next, err := d.deliverDue(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Error("alerts not delivered", "error", err)
			next = d.now().Add(10 * time.Second)
		}
		var wake <-chan time.Time
		if !next.IsZero() {
			wake = time.After(max(next.Sub(d.now()), 10*time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-wake:
		}
	}
}

// deliverDue sends what is due and returns when the next delivery is, or zero.
func (d *Desk) deliverDue(ctx context.Context) (next time.Time, err error) {
	var due []Alert
	err = d.db.View(ctx, func(tx *store.Tx) error {
		due, next = due[:0], time.Time{}
		seen := map[string]bool{}
		for a, err := range d.t.due.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			if seen[a.ID] {
				continue // the index has it once a sink
			}
			seen[a.ID] = true
			for _, p := range a.Pending {
				if !p.Next.After(d.now()) {
					due = append(due, a)
					break
				}
				if next.IsZero() || p.Next.Before(next) {
					next = p.Next
				}
			}
		}
		return nil
	})
	if err != nil {
		return next, err
	}
	for _, a := range due {
		if err := d.deliver(ctx, a); err != nil {
			return next, err
		}
	}
	if len(due) > 0 && next.IsZero() {
		next = d.now()
	}
	return next, nil
}

// deliver tries every due sink of one alert and records the outcome.
func (d *Desk) deliver(ctx context.Context, a Alert) error {
	failed := map[string]error{}
	sent := map[string]bool{}
	for _, p := range a.Pending {
		if p.Next.After(d.now()) {
			continue
		}
		for _, s := range d.sinks {
			if s.Name() != p.Sink {
				continue
			}
			sctx, cancel := context.WithTimeout(ctx, sendTimeout)
			err := s.Send(sctx, a)
			cancel()
			if err != nil {
				failed[p.Sink] = err
				d.log.Warn("alert not delivered, trying again", "alert", a.ID, "sink", p.Sink, "tries", p.Tries+1, "error", err)
				continue
			}
			sent[p.Sink] = true
		}
		if failed[p.Sink] == nil {
			sent[p.Sink] = true // taken, or the sink is no longer configured
		}
	}
	return d.db.Update(ctx, func(tx *store.Tx) error {
		now, err := d.t.alerts.Get(tx, store.K(a.ID))
		if err != nil {
			return err
		}
		var left []Delivery
		for _, p := range now.Pending {
			if sent[p.Sink] {
				continue
			}
			if e := failed[p.Sink]; e != nil {
				p.Tries++
				p.Error = e.Error()
				p.Next = d.now().Add(backoff(p.Tries))
			}
			left = append(left, p)
		}
		now.Pending = left
		return d.t.alerts.Put(tx, now)
	})
}
