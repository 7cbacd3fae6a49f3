// Package alert tells people that they are needed. An alert is a row of the
// appliance's store first and is delivered from there, so none is lost by a
// restart; the same trouble of the same thing is one alert that counts.
package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/gantry-pod/gantry/store"
)

// Alert is one thing that a person is needed for.
type Alert struct {
	ID string `json:"id"`
	// Code is stable and for programs; Subject is what it is about, such as
	// "machine/m1". The two name the trouble.
	Code    string `json:"code"`
	Subject string `json:"subject"`
	// Detail says what happened; Action what to do.
	Detail string `json:"detail"`
	Action string `json:"action,omitempty"`
	// Request is the change request that met it, if any.
	Request string `json:"request,omitempty"`
	// Count is how often it happened, First and Last when.
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Told is when people were last told of it.
	Told time.Time `json:"told"`
	// Resolved is when someone dealt with it, By who.
	Resolved time.Time `json:"resolved,omitzero"`
	By       string    `json:"by,omitempty"`
	// Pending are the sinks that have not taken it yet, Tries how often each was
	// tried in vain and Next when it is tried again.
	Pending []Delivery `json:"pending,omitempty"`
}

// Delivery is an alert on its way to a sink.
type Delivery struct {
	Sink  string    `json:"sink"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
	Error string    `json:"error,omitempty"`
}

// Sink takes alerts to people. Send is called again if it fails, so what it
// does twice must be harmless.
type Sink interface {
	Name() string
	Send(ctx context.Context, a Alert) error
}

// Tables are the tables of this package.
type Tables struct {
	alerts *store.Table[Alert]
	open   *store.Index[Alert]
	due    *store.Index[Alert]
}

const tableName = "alerts"

// NewTables declares the tables.
func NewTables() *Tables {
	t := store.NewTable(tableName, 1, func(a *Alert) store.Key { return store.K(a.ID) })
	return &Tables{
		alerts: t,
		open: store.NewIndex(t, "open", func(a *Alert) []store.Key {
			if !a.Resolved.IsZero() {
				return nil
			}
			return []store.Key{store.K(a.Code, a.Subject)}
		}, true),
		due: store.NewIndex(t, "due", func(a *Alert) (keys []store.Key) {
			for _, d := range a.Pending {
				keys = append(keys, store.K(d.Next, a.ID, d.Sink))
			}
			return keys
		}, false),
	}
}

// Schemas lists the tables for store.Open.
func (t *Tables) Schemas() []store.Schema { return []store.Schema{t.alerts} }

// Desk takes alerts in and sees to their delivery. It is safe for concurrent use.
type Desk struct {
	db    *store.DB
	t     *Tables
	sinks []Sink
	log   *slog.Logger
	now   func() time.Time
	queue chan Alert // what was posted

	mu     sync.Mutex // guards posted
	posted map[string]time.Time
}

// NewDesk makes a desk over db, which was opened with t's schemas.
func NewDesk(db *store.DB, t *Tables, sinks []Sink, log *slog.Logger, now func() time.Time) *Desk {
	return &Desk{db: db, t: t, sinks: sinks, log: log, now: now, queue: make(chan Alert, postQueue), posted: map[string]time.Time{}}
}

// Raise records a trouble. If the same trouble of the same subject is open, its
// count grows, and people are told again only if that is an hour ago.
func (d *Desk) Raise(ctx context.Context, a Alert) error {
	if err := d.db.Update(ctx, func(tx *store.Tx) error { return d.RaiseIn(tx, a) }); err != nil {
		d.log.Error("alert not recorded", "code", a.Code, "subject", a.Subject, "detail", a.Detail, "error", err)
		return fmt.Errorf("alert %s of %s: %w", a.Code, a.Subject, err)
	}
	d.log.Warn("alert: a person is needed", "code", a.Code, "subject", a.Subject, "detail", a.Detail, "action", a.Action, "request", a.Request)
	return nil
}

// RaiseIn is Raise within a transaction of the caller's, who logs it: a trouble
// and its alert are then recorded together or not at all.
func (d *Desk) RaiseIn(tx *store.Tx, a Alert) error {
	now := d.now()
	old, err := d.t.open.Get(tx, store.K(a.Code, a.Subject))
	switch {
	case errors.Is(err, store.ErrNotFound):
		a.ID = ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String()
		a.Count, a.First, a.Last, a.Told, a.Pending = 1, now, now, now, d.deliveries(now)
		return d.t.alerts.Insert(tx, a)
	case err != nil:
		return err
	}
	if now.Sub(old.Told) > time.Hour {
		old.Told, old.Pending = now, d.deliveries(now)
	}
	old.Count, old.Last, old.Detail, old.Action, old.Request = old.Count+1, now, a.Detail, a.Action, a.Request
	return d.t.alerts.Put(tx, old)
}

func (d *Desk) deliveries(now time.Time) (list []Delivery) {
	for _, s := range d.sinks {
		list = append(list, Delivery{Sink: s.Name(), Next: now})
	}
	return list
}

// ErrNotFound says that there is no such alert.
var ErrNotFound = errors.New("not found")

// Resolve closes an alert.
func (d *Desk) Resolve(ctx context.Context, id, by string) (a Alert, err error) {
	err = d.db.Update(ctx, func(tx *store.Tx) error {
		a, err = d.t.alerts.Get(tx, store.K(id))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("alert %q: %w", id, ErrNotFound)
		}
		if err != nil || !a.Resolved.IsZero() {
			return err
		}
		a.Resolved, a.By, a.Pending = d.now(), by, nil
		return d.t.alerts.Put(tx, a)
	})
	return a, err
}

// List returns the open alerts, or all, oldest first.
func (d *Desk) List(ctx context.Context, all bool) (list []Alert, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		list = []Alert{}
		for a, err := range d.t.alerts.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			if all || a.Resolved.IsZero() {
				list = append(list, a)
			}
		}
		return nil
	})
	return list, err
}

// Watch signals after each change to an alert.
func (d *Desk) Watch() (changed <-chan struct{}, stop func()) { return d.db.Watch(tableName) }
