package store

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Index describes a secondary index of a table: its rows in the order of other
// keys than the primary one. Put, Insert and Delete keep it in step, in the same
// transaction. Its methods may be called concurrently, each with its own Tx.
type Index[V any] struct {
	index
	of *Table[V]
}

type index struct {
	name   string
	unique bool
	prefix []byte // of the entries, relative to the table's index space
}

// entry is one index entry: its key relative to the table's index space, and
// the primary key that it leads to.
type entry struct {
	index *index
	key   []byte
	pk    Key
}

// derived is an index as its table sees it: how a row's keys are made.
type derived[V any] struct {
	*index
	keys func(*V) []Key
}

// NewIndex adds an index to t. keys gives a row's keys in it, none or many, made
// with [K]; it must be pure. In a unique index a key belongs to one row at most.
// What keys gives may change only with t's version. NewIndex panics if the name
// is bad or taken, or if t is in use.
func NewIndex[V any](t *Table[V], name string, keys func(*V) []Key, unique bool) *Index[V] {
	t.mustBeOpen()
	if !validName(name) {
		panic(fmt.Sprintf("store: table %s: index %q: not a valid name", t.name, name))
	}
	for _, ix := range t.indexes {
		if ix.name == name {
			panic(fmt.Sprintf("store: table %s: two indexes %s", t.name, name))
		}
	}
	prefix := append([]byte(name), nameEnd)
	ix := &Index[V]{index: index{name: name, unique: unique, prefix: prefix}, of: t}
	t.indexes = append(t.indexes, &ix.index)
	t.derived = append(t.derived, derived[V]{index: &ix.index, keys: keys})
	return ix
}

// Get returns the row with k in a unique index, or an error that wraps
// ErrNotFound. On an index that is not unique it fails: use Scan.
func (ix *Index[V]) Get(tx *Tx, k Key) (V, error) {
	v, err := ix.get(tx, k)
	if err != nil {
		return *new(V), fmt.Errorf("store: index %s/%s: %v: %w", ix.of.name, ix.name, k, err)
	}
	return v, nil
}

func (ix *Index[V]) get(tx *Tx, k Key) (v V, err error) {
	if err := tx.reading(&ix.of.table); err != nil {
		return v, err
	}
	if !ix.unique {
		return v, errNotUnique
	}
	pk, err := tx.kv.Get(concat(ix.of.entries, ix.prefix, k))
	if err != nil {
		return v, err
	}
	return ix.of.Get(tx, pk)
}

// Scan walks the rows in the order of their keys in the index, then of their
// primary keys. r's keys are the index's. A row with several keys in r comes once
// for each. In an Update whose loop writes, the keys are those of when the walk
// began, each row is as it is when the walk reaches it, and one deleted by then
// is left out. An error comes once, as the last pair, with a zero row.
func (ix *Index[V]) Scan(tx *Tx, r Range) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		if err := ix.walk(tx, r, yield); err != nil {
			yield(*new(V), fmt.Errorf("store: index %s/%s: scan: %w", ix.of.name, ix.name, err))
		}
	}
}

// walk yields the rows of r, and returns the error that ends them, if any.
func (ix *Index[V]) walk(tx *Tx, r Range, yield func(V, error) bool) error {
	if err := tx.reading(&ix.of.table); err != nil {
		return err
	}
	var broken error
	from, to := r.bounds(concat(ix.of.entries, ix.prefix))
	err := tx.scan(from, to, r.Reverse, func(_, pk []byte) bool {
		v, err := ix.of.Get(tx, pk)
		if errors.Is(err, ErrNotFound) && !tx.readOnly {
			return true
		}
		if broken = err; err != nil {
			return false
		}
		return yield(v, nil)
	})
	return errors.Join(err, broken)
}

// appendEntries adds v's entries in the index to es, each key once.
func (d derived[V]) appendEntries(es []entry, v *V, pk Key) []entry {
	first := len(es)
	for _, k := range d.keys(v) {
		e := entry{index: d.index, key: concat(d.prefix, k), pk: pk}
		if !d.unique {
			e.key = append(append(e.key, entryEnd), pk...)
		}
		same := func(o entry) bool { return bytes.Equal(o.key, e.key) }
		if !slices.ContainsFunc(es[first:], same) {
			es = append(es, e)
		}
	}
	return es
}

var errNotUnique = errors.New("the index is not unique: use Scan")
