package storetest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/store"
)

// thing is the row of the tables under test.
type thing struct {
	ID    string   `json:"id"`
	MAC   string   `json:"mac,omitempty"`
	State string   `json:"state,omitempty"`
	Tags  []string `json:"tags,omitempty"`
}

// things is a table with a unique, a plain and a many-valued index.
type things struct {
	table  *store.Table[thing]
	byMAC  *store.Index[thing]
	states *store.Index[thing]
	tags   *store.Index[thing]
}

func newThings() things {
	t := store.NewTable("things", 1, func(v *thing) store.Key { return store.K(v.ID) })
	return things{
		table: t,
		byMAC: store.NewIndex(t, "mac", func(v *thing) []store.Key {
			if v.MAC == "" {
				return nil
			}
			return []store.Key{store.K(v.MAC)}
		}, true),
		states: store.NewIndex(t, "state", func(v *thing) []store.Key { return []store.Key{store.K(v.State)} }, false),
		tags: store.NewIndex(t, "tag", func(v *thing) (keys []store.Key) {
			for _, tag := range v.Tags {
				keys = append(keys, store.K(tag))
			}
			return keys
		}, false),
	}
}

// change runs an Update that must succeed.
func (h *harness) change(db *store.DB, fn func(tx *store.Tx) error) {
	h.t.Helper()
	if err := db.Update(h.ctx, fn); err != nil {
		h.t.Fatalf("update: %v", err)
	}
}

// put stores things.
func (h *harness) put(db *store.DB, t *store.Table[thing], rows ...thing) {
	h.t.Helper()
	h.change(db, func(tx *store.Tx) error {
		for _, v := range rows {
			if err := t.Put(tx, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// collect gathers the IDs that a scan yields.
func collect(rows iter.Seq2[thing, error]) (ids []string, err error) {
	for v, err := range rows {
		if err != nil {
			return ids, err
		}
		ids = append(ids, v.ID)
	}
	return ids, nil
}

// scanner is a Table or an Index.
type scanner interface {
	Scan(*store.Tx, store.Range) iter.Seq2[thing, error]
}

func (h *harness) wantIDs(db *store.DB, s scanner, r store.Range, want ...string) {
	h.t.Helper()
	err := db.View(h.ctx, func(tx *store.Tx) error {
		got, err := collect(s.Scan(tx, r))
		if !slices.Equal(got, want) {
			h.t.Errorf("scan of %+v: got %q, want %q", r, got, want)
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}

func testRows(t *testing.T, h *harness) {
	th := newThings()
	db := h.db(th.table)
	want := thing{ID: "a", MAC: "02:00", State: "active", Tags: []string{"x", "y"}}
	h.change(db, func(tx *store.Tx) error {
		if _, err := th.table.Get(tx, store.K("a")); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), `things: ("a")`) {
			t.Errorf("get of nothing: got %v, want an ErrNotFound that names table and key", err)
		}
		if err := th.table.Delete(tx, store.K("a")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete of nothing: got %v, want %v", err, store.ErrNotFound)
		}
		if err := th.table.Insert(tx, want); err != nil {
			return err
		}
		if err := th.table.Insert(tx, want); !errors.Is(err, store.ErrExists) {
			t.Errorf("second insert: got %v, want %v", err, store.ErrExists)
		}
		if err := th.table.Put(tx, thing{State: "no id"}); err != nil {
			return err // an empty string is a key like any other
		}
		got, err := th.table.Get(tx, store.K("a"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("row in its transaction (-want +got):\n%s", diff)
		}
		return err
	})
	other := store.NewTable("other", 1, func(v *thing) store.Key { return store.K(v.ID) })
	err := db.View(h.ctx, func(tx *store.Tx) error {
		got, err := th.table.Get(tx, store.K("a"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
		if err := th.table.Put(tx, want); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("put in a View: got %v, want %v", err, store.ErrReadOnly)
		}
		if _, err := other.Get(tx, store.K("a")); !errors.Is(err, store.ErrUnknownTable) {
			t.Errorf("a table that was not opened: got %v, want %v", err, store.ErrUnknownTable)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func testRowScans(t *testing.T, h *harness) {
	type pair struct {
		A string
		B int
	}
	pairs := store.NewTable("pairs", 1, func(v *pair) store.Key { return store.K(v.A, v.B) })
	// Tables whose names begin or follow the first's, to be kept out of its scans.
	before := store.NewTable("pair", 1, func(v *pair) store.Key { return store.K(v.A, v.B) })
	behind := store.NewTable("pairs2", 1, func(v *pair) store.Key { return store.K(v.A, v.B) })
	db := h.db(pairs, before, behind)
	h.change(db, func(tx *store.Tx) error {
		for _, p := range []pair{{"web", 10}, {"web", -1}, {"web1", 5}, {"we", 7}, {"web\xff", 1}, {"web\x00", 2}, {"", 0}} {
			for _, table := range []*store.Table[pair]{pairs, before, behind} {
				if err := table.Put(tx, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, c := range []struct {
		r    store.Range
		want string
	}{
		{store.Range{}, `/0 we/7 web/-1 web/10 web` + "\x00" + `/2 web1/5 web` + "\ufffd" + `/1`},
		{store.Range{Prefix: store.K("web")}, "web/-1 web/10"},
		{store.Range{Prefix: store.K("web"), Reverse: true}, "web/10 web/-1"},
		{store.Range{Prefix: store.K("web"), From: store.K("web", 0)}, "web/10"},
		{store.Range{Prefix: store.K("web"), To: store.K("web", 10)}, "web/-1"},
		{store.Range{Prefix: store.K("web"), From: store.K("a"), To: store.K("z")}, "web/-1 web/10"},
		{store.Range{From: store.K("we"), To: store.K("web", 10)}, "we/7 web/-1"},
		{store.Range{From: store.K("web1")}, "web1/5 web\ufffd/1"},
		{store.Range{To: store.K("web")}, "/0 we/7"},
		{store.Range{From: store.K("z")}, ""},
		{store.Range{From: store.K("web"), To: store.K("we")}, ""},
	} {
		var got []string
		err := db.View(h.ctx, func(tx *store.Tx) error {
			got = nil
			for p, err := range pairs.Scan(tx, c.r) {
				if err != nil {
					return err
				}
				got = append(got, fmt.Sprintf("%s/%d", p.A, p.B))
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("scan of %+v: got %q and error %v, want %q", c.r, strings.Join(got, " "), err, c.want)
		}
	}
}

func testIndex(t *testing.T, h *harness) {
	th := newThings()
	db := h.db(th.table)
	h.put(db, th.table,
		thing{ID: "c", State: "active", Tags: []string{"x", "x", "y"}},
		thing{ID: "a", State: "active"},
		thing{ID: "b", State: "broken", Tags: []string{"x"}},
		thing{ID: "d", State: "act"},
	)
	h.wantIDs(db, th.states, store.Range{}, "d", "a", "c", "b")
	h.wantIDs(db, th.states, store.Range{Reverse: true}, "b", "c", "a", "d")
	h.wantIDs(db, th.states, store.Range{Prefix: store.K("active")}, "a", "c")
	h.wantIDs(db, th.states, store.Range{From: store.K("active"), To: store.K("broken")}, "a", "c")
	h.wantIDs(db, th.states, store.Range{From: store.K("b")}, "b")
	h.wantIDs(db, th.tags, store.Range{}, "b", "c", "c")
	h.wantIDs(db, th.tags, store.Range{Prefix: store.K("x")}, "b", "c")
	h.wantIDs(db, th.byMAC, store.Range{})
	err := db.View(h.ctx, func(tx *store.Tx) error {
		if _, err := th.states.Get(tx, store.K("act")); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get on an index that is not unique: got %v, want a refusal", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testUniqueIndex(t *testing.T, h *harness) {
	th := newThings()
	db := h.db(th.table)
	h.put(db, th.table, thing{ID: "a", MAC: "1"}, thing{ID: "b", MAC: "2"}, thing{ID: "c"}, thing{ID: "d"})
	clash := func(tx *store.Tx) error { return th.table.Put(tx, thing{ID: "b", MAC: "1"}) }
	if err := db.Update(h.ctx, clash); !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), `row ("a") has ("1")`) {
		t.Errorf("second row with a unique key: got %v, want an ErrExists that names the first", err)
	}
	swap := func(tx *store.Tx) error { // frees the key first
		if err := th.table.Put(tx, thing{ID: "a", MAC: "3"}); err != nil {
			return err
		}
		return th.table.Put(tx, thing{ID: "b", MAC: "1"})
	}
	h.change(db, swap)
	h.put(db, th.table, thing{ID: "b", MAC: "1", State: "kept its key"})
	err := db.View(h.ctx, func(tx *store.Tx) error {
		for mac, id := range map[string]string{"1": "b", "3": "a"} {
			if v, err := th.byMAC.Get(tx, store.K(mac)); err != nil || v.ID != id {
				t.Errorf("row with mac %s: got %+v and error %v, want %s", mac, v, err, id)
			}
		}
		if _, err := th.byMAC.Get(tx, store.K("2")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("key that was given up: got %v, want %v", err, store.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Of many that take one key at once, one gets it.
	won := make(chan string, 8)
	parallel(t, 8, func(i int) error {
		id := name(i)
		err := db.Update(h.ctx, func(tx *store.Tx) error { return th.table.Insert(tx, thing{ID: id, MAC: "wanted"}) })
		if err == nil {
			won <- id
		}
		if errors.Is(err, store.ErrExists) {
			return nil
		}
		return err
	})
	if len(won) != 1 {
		t.Errorf("%d rows took one unique key, want 1", len(won))
	}
}
