package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/store"
)

// testIndexFollowsRows changes rows at random and compares each index with what
// the rows say.
func testIndexFollowsRows(t *testing.T, h *harness) {
	rng := random(t)
	th := newThings()
	db := h.db(th.table)
	for range 60 {
		id, deletes := name(rng.IntN(8)), rng.IntN(4) == 0
		v := thing{ID: id, State: name(rng.IntN(3))}
		for range rng.IntN(4) {
			v.Tags = append(v.Tags, name(rng.IntN(3)))
		}
		if rng.IntN(2) == 0 {
			v.MAC = name(rng.IntN(6))
		}
		err := db.Update(h.ctx, func(tx *store.Tx) error {
			if deletes {
				return th.table.Delete(tx, store.K(id))
			}
			return th.table.Put(tx, v)
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrExists) {
			t.Fatal(err)
		}
		h.compareIndexes(db, th)
	}
}

func (h *harness) compareIndexes(db *store.DB, th things) {
	h.t.Helper()
	var states, macs, tags []string // as key/id
	err := db.View(h.ctx, func(tx *store.Tx) error {
		for v, err := range th.table.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			states = append(states, v.State+"/"+v.ID)
			if v.MAC != "" {
				macs = append(macs, v.MAC+"/"+v.ID)
			}
			unique := slices.Clone(v.Tags)
			slices.Sort(unique)
			for _, tag := range slices.Compact(unique) {
				tags = append(tags, tag+"/"+v.ID)
			}
		}
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
	h.wantIDs(db, th.states, store.Range{}, sortedIDs(states)...)
	h.wantIDs(db, th.byMAC, store.Range{}, sortedIDs(macs)...)
	h.wantIDs(db, th.tags, store.Range{}, sortedIDs(tags)...)
}

// sortedIDs sorts key/id strings and keeps the ids.
func sortedIDs(entries []string) (ids []string) {
	slices.Sort(entries)
	for _, e := range entries {
		_, id, _ := strings.Cut(e, "/")
		ids = append(ids, id)
	}
	return ids
}

// testScanWhileChangingRows moves each row that a scan of a state finds to the
// next state, which is where the scan goes next.
func testScanWhileChangingRows(t *testing.T, h *harness) {
	th := newThings()
	db := h.db(th.table)
	h.put(db, th.table, thing{ID: "a", State: "1"}, thing{ID: "b", State: "1"}, thing{ID: "c", State: "2"}, thing{ID: "d", State: "3"})
	var met []string
	h.change(db, func(tx *store.Tx) error {
		met = nil
		for v, err := range th.states.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			met = append(met, v.ID)
			v.State += "+"
			if err := th.table.Put(tx, v); err != nil {
				return err
			}
			if v.ID == "b" {
				if err := th.table.Delete(tx, store.K("c")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if want := []string{"a", "b", "d"}; !slices.Equal(met, want) {
		t.Errorf("the walk met %q, want each row once and not the deleted one, %q", met, want)
	}
	h.compareIndexes(db, th)
}

func testWatch(t *testing.T, h *harness) {
	th := newThings()
	other := store.NewTable("other", 1, func(v *thing) store.Key { return store.K(v.ID) })
	db := h.db(th.table, other)
	changed, stop := db.Watch("things")
	every, _ := db.Watch()
	h.put(db, other, thing{ID: "a"})
	<-every
	if err := db.Update(h.ctx, func(tx *store.Tx) error {
		return errors.Join(th.table.Put(tx, thing{ID: "x"}), errAbort)
	}); !errors.Is(err, errAbort) {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("signal for another table, or for an aborted transaction")
	default:
	}
	h.put(db, th.table, thing{ID: "a"})
	h.put(db, th.table, thing{ID: "b"})
	<-changed // one signal stands for both
	h.wantIDs(db, th.table, store.Range{}, "a", "b")
	stop()
	stop()
	if _, open := <-changed; open {
		// The second commit may have been told after the first signal was read.
		if _, open = <-changed; open {
			t.Error("the channel is not closed by stop")
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range every { // ends because Close closes it
	}
	late, stopLate := db.Watch()
	if _, open := <-late; open {
		t.Error("a watch on a closed store has an open channel")
	}
	stopLate()
}

// The rows of the table of things in three versions of a program.
type (
	hostV1 struct{ ID, Name string }
	hostV2 struct{ ID, First, Last string }
	hostV3 struct {
		ID, First, Last string
		Length          int
	}
)

func splitName(old json.RawMessage) (json.RawMessage, error) {
	var v hostV1
	if err := json.Unmarshal(old, &v); err != nil {
		return nil, err
	}
	first, last, ok := strings.Cut(v.Name, " ")
	if !ok {
		return nil, fmt.Errorf("name %q has no space", v.Name)
	}
	return json.Marshal(hostV2{v.ID, first, last})
}

func measureName(old json.RawMessage) (json.RawMessage, error) {
	var v hostV2
	if err := json.Unmarshal(old, &v); err != nil {
		return nil, err
	}
	return json.Marshal(hostV3{v.ID, v.First, v.Last, len(v.First) + len(v.Last)})
}

func hostsV1() *store.Table[hostV1] {
	return store.NewTable("hosts", 1, func(v *hostV1) store.Key { return store.K(v.ID) })
}

func hostsV3() *store.Table[hostV3] {
	return store.NewTable("hosts", 3, func(v *hostV3) store.Key { return store.K(v.ID) }).
		Migrate(1, splitName).Migrate(2, measureName)
}

func testMigration(t *testing.T, h *harness) {
	old := hostsV1()
	db := h.db(old)
	h.change(db, func(tx *store.Tx) error {
		return errors.Join(
			old.Put(tx, hostV1{"a", "Ada Lovelace"}),
			old.Put(tx, hostV1{"b", "Bob"}),
			old.Put(tx, hostV1{"c", "Cy Young"}))
	})
	h.reopen()
	now := hostsV3()
	db = h.db(now)
	h.change(db, func(tx *store.Tx) error {
		got, err := now.Get(tx, store.K("a"))
		if want := (hostV3{"a", "Ada", "Lovelace", 11}); err != nil || got != want {
			t.Errorf("old row: got %+v and error %v, want %+v", got, err, want)
		}
		if _, err := now.Get(tx, store.K("b")); err == nil || !strings.Contains(err.Error(), `hosts: ("b"): migrate from version 1`) {
			t.Errorf("row that cannot be migrated: got %v, want an error that names it", err)
		}
		var read, failed int
		for _, err := range now.Scan(tx, store.Range{Reverse: true}) {
			if err != nil {
				failed++
			} else {
				read++
			}
		}
		if read != 1 || failed != 1 {
			t.Errorf("scan over a row that cannot be migrated: %d rows and %d errors, want 1 and 1", read, failed)
		}
		// It can be replaced and deleted all the same.
		return errors.Join(now.Put(tx, hostV3{ID: "b"}), now.Delete(tx, store.K("b")), now.Put(tx, got))
	})
}

// testIndexesAreRebuilt changes a table's version and its indexes between opens.
func testIndexesAreRebuilt(t *testing.T, h *harness) {
	const rows = 2500 // several of a rebuild's transactions
	old := hostsV1()
	store.NewIndex(old, "name", func(v *hostV1) []store.Key { return []store.Key{store.K(v.Name)} }, true)
	db := h.db(old)
	h.change(db, func(tx *store.Tx) error {
		for i := range rows {
			if err := old.Put(tx, hostV1{name(i), fmt.Sprintf("Ada %s", name(rows-i))}); err != nil {
				return err
			}
		}
		return nil
	})
	h.reopen()
	now := hostsV3()
	byLast := store.NewIndex(now, "name", func(v *hostV3) []store.Key { return []store.Key{store.K(v.Last)} }, true)
	byFirst := store.NewIndex(now, "first", func(v *hostV3) []store.Key { return []store.Key{store.K(v.First)} }, false)
	db = h.db(now)
	h.change(db, func(tx *store.Tx) error {
		for range 2 { // before and after the rows are written again
			n, m := 0, 0
			for v, err := range byLast.Scan(tx, store.Range{}) {
				if n++; err != nil || v.Last != name(n) {
					return fmt.Errorf("row %d by last name: %+v, %w", n, v, err)
				}
			}
			for v, err := range byFirst.Scan(tx, store.Range{Prefix: store.K("Ada")}) {
				if err != nil || v.ID != name(m) {
					return fmt.Errorf("row %d by first name: %+v, %w", m, v, err)
				}
				m++
				if err := now.Put(tx, v); err != nil {
					return err
				}
			}
			if n != rows || m != rows {
				t.Errorf("indexes lead to %d and %d rows, want %d", n, m, rows)
			}
		}
		return nil
	})
	h.reopen()
	clash := hostsV3()
	store.NewIndex(clash, "first", func(v *hostV3) []store.Key { return []store.Key{store.K(v.First)} }, true)
	if _, err := store.Open(h.ctx, h.Engine, slog.New(slog.DiscardHandler), clash); !errors.Is(err, store.ErrExists) {
		t.Errorf("an index made unique over rows that are not: got %v, want %v", err, store.ErrExists)
	}
}

func testNewerIsRefused(t *testing.T, h *harness) {
	h.db(hostsV3())
	h.reopen()
	_, err := store.Open(h.ctx, h.Engine, slog.New(slog.DiscardHandler), hostsV1())
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "table hosts: the store holds version 3, this program knows up to 1") {
		t.Errorf("table of a newer version: got %v, want an ErrNewer that names table and versions", err)
	}
	noWay := store.NewTable("hosts", 4, func(v *hostV3) store.Key { return store.K(v.ID) })
	if _, err = store.Open(h.ctx, h.Engine, slog.New(slog.DiscardHandler), noWay); !errors.Is(err, store.ErrOlder) {
		t.Errorf("table without the migration: got %v, want %v", err, store.ErrOlder)
	}
	h.db(hostsV3()) // neither refusal has changed anything
}
