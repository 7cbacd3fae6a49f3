package change

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-pod/gantry/store"
)

// Prune forgets the requests that ended before all, and the sealed secrets of
// those that ended before secrets. A request that has not ended stays.
func (b *Book) Prune(ctx context.Context, secrets, all time.Time) error {
	var old []string
	err := b.db.View(ctx, func(tx *store.Tx) error {
		old = old[:0]
		for r, err := range b.t.requests.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			if !r.Created.Before(secrets) && !r.Created.Before(all) {
				break // they are in the order of their creation
			}
			if r.endedBefore(all) || r.Sealed != nil && r.endedBefore(secrets) {
				old = append(old, r.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range old { // each by itself, so that nobody waits for all of them
		if err := b.prune(ctx, id, all); err != nil {
			return err
		}
	}
	return nil
}

func (b *Book) prune(ctx context.Context, id string, all time.Time) error {
	return b.db.Update(ctx, func(tx *store.Tx) error {
		r, err := b.t.requests.Get(tx, store.K(id))
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && !r.Status.Ended():
			return nil // it goes on
		case err != nil:
			return err
		case r.endedBefore(all):
			return b.t.requests.Delete(tx, store.K(id))
		}
		r.Sealed = nil
		return b.t.requests.Put(tx, r)
	})
}

func (r *Request) endedBefore(t time.Time) bool { return r.Status.Ended() && r.Ended.Before(t) }
