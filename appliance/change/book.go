package change

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

// Book keeps the requests: it accepts, finds and ends them. It is safe for
// concurrent use.
type Book struct {
	db     *store.DB
	t      *Tables
	assets *asset.Registry
	now    func() time.Time
}

// NewBook makes a book over db, which was opened with t's schemas.
func NewBook(db *store.DB, t *Tables, assets *asset.Registry, now func() time.Time) *Book {
	return &Book{db: db, t: t, assets: assets, now: now}
}

// ErrNotFound says that there is no such request.
var ErrNotFound = errors.New("not found")

// ErrEnded says that the request has ended, or cannot be stopped.
var ErrEnded = errors.New("cannot be changed")

// Ask is what someone asks for.
type Ask struct {
	Kind    Kind
	Machine string
	Spec    any
	Key     string
	By      string
}

// Admit checks an ask against the machine as it stands and may change the
// machine's record (its lifecycle) in the same transaction.
type Admit func(m *asset.Machine) error

// Accept commits a request for ask and locks its machine, or says why not. The
// same idempotency key from the same caller gives the first request again.
func (b *Book) Accept(ctx context.Context, ask Ask, admit Admit) (r Request, err error) {
	spec, err := json.Marshal(ask.Spec)
	if err != nil {
		return r, fmt.Errorf("%s of machine %s: spec: %w", ask.Kind, ask.Machine, err)
	}
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		if ask.Key != "" {
			old, err := b.t.byKey.Get(tx, store.K(ask.By, ask.Key))
			if err == nil {
				r = old
				return b.same(old, ask, spec)
			}
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		now := b.now()
		r = Request{ID: ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String(), Kind: ask.Kind, Machine: ask.Machine,
			Spec: spec, Key: ask.Key, By: ask.By, Status: Queued, Created: now, Steps: []Step{}}
		if err := b.hide(&r); err != nil {
			return err
		}
		err := b.assets.ChangeIn(tx, ask.Machine, func(_ *store.Tx, m *asset.Machine) error {
			return admitted(m, r.ID, admit)
		})
		if err != nil {
			return err
		}
		return b.t.requests.Insert(tx, r)
	})
	return r, err
}

// admitted locks m for the request called id, if admit lets it.
func admitted(m *asset.Machine, id string, admit Admit) error {
	if m.Lock != "" {
		return fmt.Errorf("machine %s: request %s has it; wait for it or cancel it: %w", m.ID, m.Lock, asset.ErrLocked)
	}
	if err := admit(m); err != nil {
		return err
	}
	m.Lock = id
	return nil
}

func (b *Book) same(old Request, ask Ask, spec []byte) error {
	if old.Kind != ask.Kind || old.Machine != ask.Machine || !b.sameSpec(&old, spec) {
		return fmt.Errorf("idempotency key %q was used for another request (%s): %w", ask.Key, old.ID, asset.ErrExists)
	}
	return nil
}

// Get returns the request called id.
func (b *Book) Get(ctx context.Context, id string) (r Request, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		r, err = b.t.requests.Get(tx, store.K(id))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("request %q: %w", id, ErrNotFound)
		}
		return err
	})
	return r, err
}

// List returns at most limit requests, newest first; of one machine if machine
// is not empty.
func (b *Book) List(ctx context.Context, machine string, limit int) (list []Request, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		list = []Request{}
		scan := b.t.requests.Scan(tx, store.Range{Reverse: true})
		if machine != "" {
			scan = b.t.byMachine.Scan(tx, store.Range{Prefix: store.K(machine), Reverse: true})
		}
		for r, err := range scan {
			if err != nil {
				return err
			}
			if list = append(list, r); len(list) == limit {
				break
			}
		}
		return nil
	})
	return list, err
}

// Open returns the requests that have not ended, oldest first.
func (b *Book) Open(ctx context.Context) (list []Request, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		list = list[:0]
		for r, err := range b.t.open.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

// Watch signals after each change to a request.
func (b *Book) Watch() (changed <-chan struct{}, stop func()) { return b.db.Watch(RequestsTable) }

// change lets fn change a request that has not ended.
func (b *Book) change(ctx context.Context, id string, fn func(r *Request) error) (r Request, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		r, err = b.t.requests.Get(tx, store.K(id))
		if err != nil {
			return err
		}
		if r.Status.Ended() {
			return fmt.Errorf("request %s is %s already: %w", id, r.Status, ErrEnded)
		}
		if err := fn(&r); err != nil {
			return err
		}
		return b.t.requests.Put(tx, r)
	})
	return r, err
}

// end closes a request, releases its machine, lets settle bring the machine to
// where it then stands, and records the alert if a person is needed, in one
// transaction. A request that leaves its machine broken needs one.
func (b *Book) end(ctx context.Context, id string, status Status, p *Problem, settle func(m *asset.Machine) error, alert Alert) (r Request, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		r, err = b.t.requests.Get(tx, store.K(id))
		if err != nil || r.Status.Ended() {
			return err
		}
		r.Status, r.Error, r.Ended = status, p, b.now()
		if status == Done {
			r.Sealed = nil // one that failed may be given again
		}
		err := b.assets.ChangeIn(tx, r.Machine, func(_ *store.Tx, m *asset.Machine) error {
			if m.Lock == id {
				m.Lock = ""
			}
			if settle == nil {
				return nil
			}
			err := settle(m)
			if p != nil && m.Status.State == machine.Broken {
				r.Error = p.forPerson()
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := b.t.requests.Put(tx, r); err != nil || r.Error == nil || !r.Error.Person {
			return err
		}
		return b.raise(tx, alert, r)
	})
	return r, err
}

func (b *Book) raise(tx *store.Tx, alert Alert, r Request) error {
	if alert == nil {
		return nil
	}
	return alert(tx, r, r.Error)
}
