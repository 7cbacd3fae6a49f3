package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
)

// Schema is what Open needs to know of a table. Every [Table] is one, and
// nothing else is.
type Schema interface {
	// Name returns the table's name.
	Name() string
	core() *table
}

// maxVersion bounds schema versions, so that one fits an int anywhere.
const maxVersion = 1 << 30

// Table describes a table of rows of type V, stored as JSON and ordered by their
// keys. It is a description only: one Table may serve many DBs at once. Its
// methods may be called concurrently, each call with its own Tx.
type Table[V any] struct {
	table
	key     func(*V) Key
	derived []derived[V]
}

// table is the part of a Table that does not depend on V.
type table struct {
	name       string
	version    int
	rows       []byte // prefix of the rows' keys
	entries    []byte // prefix of all indexes' entries
	migrations map[int]func(json.RawMessage) (json.RawMessage, error)
	indexes    []*index
	sealed     atomic.Bool // set by the first Open: the description is final
	// reindex reads a body of the current version and gives the key and the
	// index entries that a row of it has.
	reindex func(body []byte) (Key, []entry, error)
}

// NewTable describes a table. version counts from 1 and rises whenever rows of
// the old version would be misread, or whenever what the indexes hold changes;
// each rise needs a [Table.Migrate]. key gives a row's primary key, made with
// [K]; it must be pure. A bad name or version is a mistake in the program and
// panics.
func NewTable[V any](name string, version int, key func(*V) Key) *Table[V] {
	if !validName(name) {
		panic(fmt.Sprintf("store: table %q: not a valid name", name))
	}
	if version < 1 || version > maxVersion {
		panic(fmt.Sprintf("store: table %s: version %d is not positive", name, version))
	}
	t := &Table[V]{key: key}
	t.table = table{
		name:       name,
		version:    version,
		rows:       rowPrefix(name),
		entries:    tableIndexPrefix(name),
		migrations: make(map[int]func(json.RawMessage) (json.RawMessage, error)),
		reindex:    t.reindexBody,
	}
	return t
}

// Migrate states how a row's JSON of version from becomes that of version
// from+1, and returns t. Rows are upgraded when they are read, and stored in the
// new version when they are written next; a table with indexes is rewritten as a
// whole by the Open that finds it older. fn must be pure: it runs often. Migrate
// panics if the step is not one of t's, is stated twice, or if t is in use.
func (t *Table[V]) Migrate(from int, fn func(old json.RawMessage) (json.RawMessage, error)) *Table[V] {
	t.mustBeOpen()
	if from < 1 || from >= t.version {
		panic(fmt.Sprintf("store: table %s is of version %d: no migration from %d", t.name, t.version, from))
	}
	if t.migrations[from] != nil {
		panic(fmt.Sprintf("store: table %s: two migrations from version %d", t.name, from))
	}
	t.migrations[from] = fn
	return t
}

// Name returns the table's name.
func (t *Table[V]) Name() string { return t.name }

func (t *Table[V]) core() *table { return &t.table }

// Get returns the row under k, or an error that wraps ErrNotFound.
func (t *Table[V]) Get(tx *Tx, k Key) (V, error) {
	var v V
	if err := tx.reading(&t.table); err != nil {
		return v, err
	}
	b, err := tx.kv.Get(concat(t.rows, k))
	if err != nil {
		return v, fmt.Errorf("store: table %s: %v: %w", t.name, k, err)
	}
	return t.decode(k, b)
}

// Put stores v in place of the row with its key, if there is one. A unique index
// key that another row holds gives an error that wraps ErrExists.
func (t *Table[V]) Put(tx *Tx, v V) error { return t.write(tx, &v, false) }

// Insert stores v as a new row; if its key, or a unique index key of it, is
// taken the error wraps ErrExists.
func (t *Table[V]) Insert(tx *Tx, v V) error { return t.write(tx, &v, true) }

// Delete removes the row under k, or returns an error that wraps ErrNotFound.
func (t *Table[V]) Delete(tx *Tx, k Key) error {
	if err := tx.writing(&t.table); err != nil {
		return err
	}
	if err := t.deleteRow(tx.kv, k); err != nil {
		return fmt.Errorf("store: table %s: delete %v: %w", t.name, k, err)
	}
	return nil
}

// Scan walks the rows of r in the order of their keys, as they were when the
// walk began: the loop's body may write, and the walk does not notice. An error
// comes once, as the last pair, with a zero row.
func (t *Table[V]) Scan(tx *Tx, r Range) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		stopped := false
		emit := func(v V, err error) bool {
			stopped = !yield(v, err) || err != nil
			return !stopped
		}
		err := tx.reading(&t.table)
		if err == nil {
			from, to := r.bounds(t.rows)
			err = tx.scan(from, to, r.Reverse, func(k, b []byte) bool {
				return emit(t.decode(k[len(t.rows):], b))
			})
		}
		if err != nil && !stopped {
			yield(*new(V), fmt.Errorf("store: table %s: scan: %w", t.name, err))
		}
	}
}

func (t *Table[V]) write(tx *Tx, v *V, insert bool) error {
	if err := tx.writing(&t.table); err != nil {
		return err
	}
	pk := t.key(v)
	body, err := json.Marshal(v)
	if err == nil {
		err = t.putRow(tx.kv, pk, t.entriesOf(v, pk), body, insert)
	}
	if err != nil {
		return fmt.Errorf("store: table %s: put %v: %w", t.name, pk, err)
	}
	return nil
}

// decode turns a stored row into a V, upgrading it if it is older.
func (t *Table[V]) decode(k Key, stored []byte) (V, error) {
	var v V
	body, err := t.currentBody(stored)
	if err == nil {
		err = json.Unmarshal(body, &v)
	}
	if err != nil {
		return *new(V), fmt.Errorf("store: table %s: %v: %w", t.name, k, err)
	}
	return v, nil
}

// entriesOf gives the index entries of v, whose primary key is pk.
func (t *Table[V]) entriesOf(v *V, pk Key) []entry {
	var es []entry
	for i := range t.derived {
		es = t.derived[i].appendEntries(es, v, pk)
	}
	return es
}

func (t *Table[V]) reindexBody(body []byte) (Key, []entry, error) {
	var v V
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, nil, err
	}
	pk := t.key(&v)
	return pk, t.entriesOf(&v, pk), nil
}

func (t *table) mustBeOpen() {
	if t.sealed.Load() {
		panic(fmt.Sprintf("store: table %s is in use: its description is final", t.name))
	}
}

// currentBody gives the JSON of a stored row in the table's version.
func (t *table) currentBody(stored []byte) ([]byte, error) {
	r, err := parseRow(stored)
	if err != nil {
		return nil, err
	}
	if r.version > t.version {
		return nil, fmt.Errorf("row of version %d, this program knows %d: %w", r.version, t.version, ErrNewer)
	}
	body := json.RawMessage(r.body)
	for v := r.version; v < t.version; v++ {
		migrate := t.migrations[v]
		if migrate == nil {
			return nil, fmt.Errorf("row of version %d: no migration from it: %w", v, ErrOlder)
		}
		if body, err = migrate(body); err != nil {
			return nil, fmt.Errorf("migrate from version %d: %w", v, err)
		}
	}
	return body, nil
}

var errEmptyKey = errors.New("the key is empty")
