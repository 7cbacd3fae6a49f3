package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// tableRecord is what a store remembers of a table.
type tableRecord struct {
	Version int `json:"version"`
	// Indexes names the indexes that are complete, with whether they are
	// unique. It is empty while they are being built.
	Indexes map[string]bool `json:"indexes,omitempty"`
}

// sealAll makes the tables' descriptions final and checks them.
func sealAll(tables []Schema) (map[string]*table, error) {
	byName := make(map[string]*table, len(tables))
	for _, s := range tables {
		t := s.core()
		if byName[t.name] != nil {
			return nil, fmt.Errorf("store: open: two tables are called %s", t.name)
		}
		t.sealed.Store(true)
		byName[t.name] = t
	}
	return byName, nil
}

// reconcile brings what the store holds in line with the tables' descriptions.
// It refuses before it changes anything.
func reconcile(ctx context.Context, e Engine, log *slog.Logger, tables map[string]*table) error {
	known, err := readTableRecords(ctx, e, tables)
	if err != nil {
		return err
	}
	if err := enterNew(ctx, e, tables, known); err != nil {
		return fmt.Errorf("store: open: enter new tables: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if err := tables[name].reconcile(ctx, e, log, known[name]); err != nil {
			return fmt.Errorf("store: open: table %s: %w", name, err)
		}
	}
	return nil
}

// enterNew records the tables that the store has never seen, in one transaction:
// they have no rows, so their indexes are complete.
func enterNew(ctx context.Context, e Engine, tables map[string]*table, known map[string]tableRecord) error {
	if len(known) == len(tables) {
		return nil
	}
	return e.Update(ctx, func(kv Txn) error {
		for name, t := range tables {
			if _, ok := known[name]; ok {
				continue
			}
			if err := setJSON(kv, tableMetaKey(name), t.record()); err != nil {
				return err
			}
		}
		return nil
	})
}

func readTableRecords(ctx context.Context, e Engine, tables map[string]*table) (known map[string]tableRecord, err error) {
	err = e.View(ctx, func(kv Txn) error {
		known = make(map[string]tableRecord)
		for name, t := range tables {
			rec, err := readTableRecord(kv, name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err == nil {
				err = t.canRead(rec.Version)
			}
			if err != nil {
				return fmt.Errorf("store: open: table %s: %w", name, err)
			}
			known[name] = rec
		}
		return nil
	})
	return known, err
}

func readTableRecord(kv Txn, name string) (rec tableRecord, err error) {
	b, err := kv.Get(tableMetaKey(name))
	if err == nil {
		err = json.Unmarshal(b, &rec)
	}
	return rec, err
}

// canRead reports as an error that t cannot read rows of that version.
func (t *table) canRead(version int) error {
	if version > t.version {
		return fmt.Errorf("the store holds version %d, this program knows up to %d: %w", version, t.version, ErrNewer)
	}
	for v := version; v < t.version; v++ {
		if t.migrations[v] == nil {
			return fmt.Errorf("the store holds version %d, this program has version %d and no migration from %d: %w", version, t.version, v, ErrOlder)
		}
	}
	return nil
}

// reconcile ratchets the table's version and builds its indexes anew if they, or
// the version that they were built from, have changed. The record without
// indexes is what makes the next Open begin again after a crash.
func (t *table) reconcile(ctx context.Context, e Engine, log *slog.Logger, known tableRecord) error {
	want := t.record()
	if known.Version == want.Version && maps.Equal(known.Indexes, want.Indexes) {
		return nil
	}
	log.Info("table changes", "table", t.name, "from_version", known.Version, "to_version", t.version, "indexes", len(want.Indexes))
	if err := t.writeRecord(ctx, e, tableRecord{Version: t.version}); err != nil {
		return err
	}
	if err := clearRange(ctx, e, t.entries, prefixEnd(t.entries)); err != nil {
		return fmt.Errorf("clear the indexes: %w", err)
	}
	if len(t.indexes) == 0 {
		return nil
	}
	if err := t.rebuild(ctx, e); err != nil {
		return fmt.Errorf("build the indexes: %w", err)
	}
	return t.writeRecord(ctx, e, want)
}

// record is what the store remembers of t once t is complete.
func (t *table) record() tableRecord {
	rec := tableRecord{Version: t.version, Indexes: make(map[string]bool)}
	for _, ix := range t.indexes {
		rec.Indexes[ix.name] = ix.unique
	}
	return rec
}

func (t *table) writeRecord(ctx context.Context, e Engine, rec tableRecord) error {
	return e.Update(ctx, func(kv Txn) error { return setJSON(kv, tableMetaKey(t.name), rec) })
}

// chunkRows bounds the transactions of a rebuild.
const chunkRows = 1000

// rebuild rewrites every row in the current version, with its index entries.
func (t *table) rebuild(ctx context.Context, e Engine) error {
	for next, end := t.rows, prefixEnd(t.rows); next != nil; {
		from := next
		err := e.Update(ctx, func(kv Txn) error {
			keys, err := chunk(kv, from, end)
			for _, key := range keys {
				if err == nil {
					err = t.rebuildRow(kv, key)
				}
			}
			next = after(keys)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *table) rebuildRow(kv Txn, key []byte) error {
	stored, err := kv.Get(key)
	if err != nil {
		return err
	}
	pk := Key(key[len(t.rows):])
	body, err := t.currentBody(stored)
	if err != nil {
		return fmt.Errorf("row %v: %w", pk, err)
	}
	newPK, es, err := t.reindex(body)
	if err == nil && !bytes.Equal(pk, newPK) {
		err = fmt.Errorf("its key has become %v: a migration must not change it", newPK)
	}
	if err == nil {
		err = t.moveEntries(kv, nil, es)
	}
	if err != nil {
		return fmt.Errorf("row %v: %w", pk, err)
	}
	return kv.Set(key, appendRow(nil, t.version, es, body))
}

// clearRange deletes all keys of a range, a bounded transaction at a time.
func clearRange(ctx context.Context, e Engine, from, to []byte) error {
	for from != nil {
		low := from
		err := e.Update(ctx, func(kv Txn) error {
			keys, err := chunk(kv, low, to)
			for _, key := range keys {
				if err == nil {
					err = kv.Delete(key)
				}
			}
			from = after(keys)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chunk lists the first chunkRows keys of a range.
func chunk(kv Txn, from, to []byte) (keys [][]byte, err error) {
	err = kv.Scan(from, to, false, func(key, _ []byte) bool {
		keys = append(keys, bytes.Clone(key))
		return len(keys) < chunkRows
	})
	return keys, err
}

// after gives where the chunk that follows keys begins, nil if there is none.
func after(keys [][]byte) []byte {
	if len(keys) < chunkRows {
		return nil
	}
	return append(bytes.Clone(keys[len(keys)-1]), 0)
}
