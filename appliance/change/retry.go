package change

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store"
)

// ErrAnew says that a request cannot go on where it failed: what it asked for
// takes a new request.
var ErrAnew = errors.New("has to be given anew")

// Retry goes on with a failed request at the step that failed, if admit lets
// the machine have it again. It is ErrAnew if someone called the request off, or
// if the machine, or what was done to it since, is another's.
func (r *Runner) Retry(ctx context.Context, id string, admit Admit) (Request, error) {
	q, err := r.book.reopen(ctx, id, admit)
	if err != nil {
		return q, err
	}
	r.log.Info("request goes on", "request", q.ID, "kind", q.Kind, "machine", q.Machine)
	r.start(q, true)
	return q, nil
}

// reopen makes a failed request one that has not ended and locks its machine
// for it, in one transaction. Its undo, if it has to be undone again, begins
// anew.
func (b *Book) reopen(ctx context.Context, id string, admit Admit) (r Request, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		r, err = b.t.requests.Get(tx, store.K(id))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("request %q: %w", id, ErrNotFound)
		}
		if err != nil {
			return err
		}
		if err := b.mayGoOn(tx, &r); err != nil {
			return err
		}
		err := b.assets.ChangeIn(tx, r.Machine, func(_ *store.Tx, m *asset.Machine) error {
			if m.Created.After(r.Created) {
				return fmt.Errorf("request %s: machine %s is another than it was: %w", id, m.ID, ErrAnew)
			}
			return admitted(m, id, admit)
		})
		if err != nil {
			return err
		}
		r.Status, r.Error, r.Ended = Queued, nil, time.Time{}
		return b.t.requests.Put(tx, r)
	})
	return r, err
}

// mayGoOn sees to it that r failed at a step, and that no other request has had
// its machine since; it makes the steps ready to be tried.
func (b *Book) mayGoOn(tx *store.Tx, r *Request) error {
	failed := false
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Status == Failed && !s.Undo {
			failed = true
		}
		if s.Status == Failed || s.Undo {
			s.Status, s.Spent = Queued, s.Attempt
		}
	}
	if r.Status != Failed || r.Cancelling || !failed {
		return fmt.Errorf("request %s is %s: %w", r.ID, r.Status, ErrAnew)
	}
	for last, err := range b.t.byMachine.Scan(tx, store.Range{Prefix: store.K(r.Machine), Reverse: true}) {
		if err != nil {
			return err
		}
		if last.ID != r.ID {
			return fmt.Errorf("request %s: request %s has had machine %s since: %w", r.ID, last.ID, r.Machine, ErrAnew)
		}
		break
	}
	return nil
}

// ByKey returns the request that by gave with an idempotency key.
func (b *Book) ByKey(ctx context.Context, by, key string) (r Request, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		r, err = b.t.byKey.Get(tx, store.K(by, key))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("request with key %q of %s: %w", key, by, ErrNotFound)
		}
		return err
	})
	return r, err
}
