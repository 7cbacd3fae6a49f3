package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// putRow stores a row and moves its index entries from where the row that it
// replaces had them. With insert there must be no such row.
func (t *table) putRow(kv Txn, pk Key, es []entry, body []byte, insert bool) error {
	if len(pk) == 0 {
		return errEmptyKey
	}
	key := concat(t.rows, pk)
	var old row
	if insert || len(t.indexes) > 0 {
		switch stored, err := kv.Get(key); {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case insert:
			return ErrExists
		default:
			if old, err = parseRow(stored); err != nil {
				return err
			}
		}
	}
	if err := t.moveEntries(kv, old.entries, es); err != nil {
		return err
	}
	return kv.Set(key, appendRow(make([]byte, 0, len(body)+64), t.version, es, body))
}

// deleteRow removes a row and its index entries.
func (t *table) deleteRow(kv Txn, pk Key) error {
	key := concat(t.rows, pk)
	stored, err := kv.Get(key)
	if err != nil {
		return err
	}
	old, err := parseRow(stored)
	if err != nil {
		return err
	}
	if err := t.moveEntries(kv, old.entries, nil); err != nil {
		return err
	}
	return kv.Delete(key)
}

// moveEntries deletes the old entries that are not among the new, and adds the
// new that are not among the old.
func (t *table) moveEntries(kv Txn, old [][]byte, es []entry) error {
	for _, key := range old {
		if slices.ContainsFunc(es, func(e entry) bool { return bytes.Equal(e.key, key) }) {
			continue
		}
		if err := kv.Delete(concat(t.entries, key)); err != nil {
			return err
		}
	}
	for _, e := range es {
		if slices.ContainsFunc(old, func(key []byte) bool { return bytes.Equal(key, e.key) }) {
			continue
		}
		if err := t.addEntry(kv, e); err != nil {
			return err
		}
	}
	return nil
}

// addEntry stores one entry that its row did not have before.
func (t *table) addEntry(kv Txn, e entry) error {
	key := concat(t.entries, e.key)
	if e.index.unique {
		holder, err := kv.Get(key)
		if err == nil {
			return fmt.Errorf("index %s: row %v has %v: %w",
				e.index.name, Key(holder), Key(e.key[len(e.index.prefix):]), ErrExists)
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return kv.Set(key, e.pk)
}
