package store

import (
	"context"
	"fmt"
	"log/slog"
)

// DB is an open store. Its methods may be called concurrently.
type DB struct {
	engine     Engine
	log        *slog.Logger
	tables     map[string]*table
	watchers   watchers
	stopListen func()
}

// Open opens the store in e with the given tables, and owns e if it succeeds.
//
// A new store is given the current format. One of a newer format, or with a
// table of a newer version, is refused with ErrNewer before anything is changed;
// one of an older format with ErrOlder, see [Upgrade]. A table whose version has
// risen is ratcheted to it, and one whose version or indexes have changed has
// its indexes built again, which takes time in proportion to its rows. That
// survives a crash: the next Open begins it anew.
func Open(ctx context.Context, e Engine, log *slog.Logger, tables ...Schema) (*DB, error) {
	return open(ctx, e, log, currentFormat(), tables)
}

func open(ctx context.Context, e Engine, log *slog.Logger, f format, tables []Schema) (*DB, error) {
	byName, err := sealAll(tables)
	if err != nil {
		return nil, err
	}
	if err := f.check(ctx, e); err != nil {
		return nil, err
	}
	if err := reconcile(ctx, e, log, byName); err != nil {
		return nil, err
	}
	db := &DB{engine: e, log: log, tables: byName}
	db.stopListen = e.Listen(db.watchers.notify)
	return db, nil
}

// Update runs fn in a serializable read-write transaction and returns once its
// writes are durable. Concurrent Updates share the sync, but an embedded engine
// runs one fn at a time: do slow work, and all that leaves the process, outside.
// fn must not call Update; a View in it does not see its writes.
//
// fn may run more than once, with a new Tx each time. If it returns an error
// nothing is written and Update returns that error as it is. An error that wraps
// ErrFailed leaves open whether the transaction was written.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return db.engine.Update(ctx, func(kv Txn) error {
		return fn(&Tx{ctx: ctx, db: db, kv: kv})
	})
}

// View runs fn in a read-only transaction on a snapshot: every transaction
// acknowledged before the call, none that is not durable. Keep fn short, as the
// engine keeps all that was overwritten since the snapshot for as long.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	return db.engine.View(ctx, func(kv Txn) error {
		return fn(&Tx{ctx: ctx, db: db, kv: kv, readOnly: true})
	})
}

// Close ends all watches, waits for what is under way and closes the engine.
func (db *DB) Close() error {
	db.stopListen()
	db.watchers.close()
	if err := db.engine.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}
