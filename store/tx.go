package store

import (
	"context"
	"fmt"
)

// Tx is a transaction on a DB: what Update and View hand to their function, for
// its tables' methods. It is for one goroutine, and of no use once the function
// has returned ([ErrClosed]).
type Tx struct {
	ctx      context.Context // of the call to Update or View, which outlives the Tx
	db       *DB
	kv       Txn
	readOnly bool
	touched  map[*table]struct{}
}

// Context returns the context that Update or View was called with.
func (tx *Tx) Context() context.Context { return tx.ctx }

// reading checks that t may be read in tx.
func (tx *Tx) reading(t *table) error {
	if tx.db.tables[t.name] != t {
		return fmt.Errorf("store: table %s: %w", t.name, ErrUnknownTable)
	}
	return nil
}

// writing checks that t may be written in tx, and notes that it was.
func (tx *Tx) writing(t *table) error {
	if err := tx.reading(t); err != nil {
		return err
	}
	if tx.readOnly {
		return fmt.Errorf("store: table %s: %w", t.name, ErrReadOnly)
	}
	if _, ok := tx.touched[t]; ok {
		return nil
	}
	if tx.touched == nil {
		tx.touched = make(map[*table]struct{}, 4)
	}
	tx.touched[t] = struct{}{}
	return tx.kv.Touch(t.name)
}

// ctxCheckRows is how many rows a scan passes between looks at its context.
const ctxCheckRows = 256

// scan walks the pairs of a range, minding the context.
func (tx *Tx) scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error {
	var ended error
	n := 0
	err := tx.kv.Scan(from, to, reverse, func(key, value []byte) bool {
		if n++; n%ctxCheckRows == 0 {
			if ended = context.Cause(tx.ctx); ended != nil {
				return false
			}
		}
		return fn(key, value)
	})
	if err == nil {
		err = ended
	}
	return err
}
