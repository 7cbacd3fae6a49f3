package store

import (
	"bytes"
	"context"
	"fmt"
)

// Raw is a space of plain keys and values beside the tables, for what is too
// hot for rows: no JSON, no index, no versions, no notification. It shares the
// engine's group commit but takes no part in transactions, so a key needs one
// owner that orders its writes. Its methods may be called concurrently.
type Raw interface {
	// Commit applies ops in order, all or none, and returns once that is
	// durable: one sync, shared with whatever commits at the same time. It
	// waits for no Update's function. It keeps nothing of ops. An error that
	// wraps ErrFailed leaves open whether the batch was written.
	Commit(ctx context.Context, ops []RawOp) error

	// Scan calls fn for each pair with from ≤ key < to in ascending order, on a
	// snapshot of all that was acknowledged before the call; a nil bound is
	// none. k and v are valid during the call only. An error from fn ends the
	// scan and is returned as it is.
	Scan(ctx context.Context, from, to []byte, fn func(k, v []byte) error) error
}

// Raw returns the raw space of that name. It holds its own keys only: neither
// tables nor other spaces can be reached through it.
func (db *DB) Raw(space string) (Raw, error) {
	if !validName(space) {
		return nil, fmt.Errorf("store: raw space %q: not a valid name", space)
	}
	return &rawSpace{engine: db.engine, name: space, prefix: rawPrefix(space)}, nil
}

type rawSpace struct {
	engine Engine
	name   string
	prefix []byte
}

func (r *rawSpace) Commit(ctx context.Context, ops []RawOp) error {
	for i := range ops {
		if len(ops[i].Key) == 0 {
			return fmt.Errorf("store: raw space %s: write %d of %d has an empty key", r.name, i+1, len(ops))
		}
	}
	if err := r.engine.Commit(ctx, r.prefix, ops); err != nil {
		return fmt.Errorf("store: raw space %s: commit of %d writes: %w", r.name, len(ops), err)
	}
	return nil
}

func (r *rawSpace) Scan(ctx context.Context, from, to []byte, fn func(k, v []byte) error) error {
	low, high := concat(r.prefix, from), prefixEnd(r.prefix)
	if to != nil {
		high = concat(r.prefix, to)
	}
	return r.engine.View(ctx, func(kv Txn) error {
		tx := Tx{ctx: ctx, kv: kv}
		var stopped error
		err := tx.scan(low, high, false, func(k, v []byte) bool {
			stopped = fn(bytes.TrimPrefix(k, r.prefix), v)
			return stopped == nil
		})
		if err != nil {
			return fmt.Errorf("store: raw space %s: scan: %w", r.name, err)
		}
		return stopped
	})
}
