package pebblekv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gantry-pod/gantry/store"
)

// txn implements [store.Txn] on an indexed batch or, read-only, on a snapshot.
type txn struct {
	reader pebble.Reader // nil once the function has returned
	batch  *pebble.Batch // nil in a View
	topics []string
}

func (t *txn) end() { t.reader, t.batch = nil, nil }

func (t *txn) Get(key []byte) ([]byte, error) {
	if t.reader == nil {
		return nil, store.ErrClosed
	}
	value, closer, err := t.reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("pebblekv: get: %w", err)
	}
	value = bytes.Clone(value)
	return value, closer.Close()
}

func (t *txn) Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) (err error) {
	if t.reader == nil {
		return store.ErrClosed
	}
	if to != nil && bytes.Compare(from, to) >= 0 {
		return nil
	}
	if len(from) == 0 {
		from = nil // to Pebble an empty bound is not the absence of one
	}
	it, err := t.reader.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("pebblekv: scan: %w", err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("pebblekv: scan: %w", closeErr)
		}
	}()
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("pebblekv: scan: %w", err)
		}
		if !fn(it.Key(), value) {
			return nil
		}
	}
	return it.Error()
}

func (t *txn) Set(key, value []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	return t.batch.Set(key, value, nil)
}

func (t *txn) Delete(key []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	return t.batch.Delete(key, nil)
}

func (t *txn) Touch(topic string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if !slices.Contains(t.topics, topic) {
		t.topics = append(t.topics, topic)
	}
	return nil
}

func (t *txn) writable() error {
	switch {
	case t.reader == nil:
		return store.ErrClosed
	case t.batch == nil:
		return store.ErrReadOnly
	}
	return nil
}
