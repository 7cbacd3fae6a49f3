package storetest

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/gantry-pod/gantry/store"
)

// testRawBatch: the writes of a batch apply in order, under the prefix.
func testRawBatch(t *testing.T, h *harness) {
	h.set("p/gone", "1", "q", "untouched")
	err := h.Commit(h.ctx, []byte("p/"), []store.RawOp{
		{Key: []byte("a"), Value: []byte("first")},
		{Key: []byte("b"), Value: []byte("x")},
		{Key: []byte("a"), Value: []byte("second")},
		{Key: []byte("b"), Delete: true},
		{Key: []byte("gone"), Delete: true},
		{Key: []byte("empty")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Commit(h.ctx, []byte("p/"), nil); err != nil {
		t.Errorf("empty batch: %v", err)
	}
	h.wantKeys(nil, nil, false, "p/a", "p/empty", "q")
	if a := h.get("p/a"); a != "second" {
		t.Errorf("p/a is %q, want the later write", a)
	}
}

func testRawDoesNotWaitForUpdate(t *testing.T, h *harness) {
	var once sync.Once
	standing, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.Update(h.ctx, func(kv store.Txn) error {
			once.Do(func() { close(standing) })
			<-goOn
			return kv.Set([]byte("table"), nil)
		})
	}()
	<-standing
	if err := h.Commit(h.ctx, []byte("raw/"), []store.RawOp{{Key: []byte("a")}}); err != nil {
		t.Error(err)
	}
	h.wantKeys(nil, nil, false, "raw/a")
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// testRawSpacesAreApart fills two raw spaces, one with a name that begins the
// other's, beside a table.
func testRawSpacesAreApart(t *testing.T, h *harness) {
	th := newThings()
	db := h.db(th.table)
	h.put(db, th.table, thing{ID: "a"})
	keysOf := func(r store.Raw, from, to []byte) (list []string) {
		err := r.Scan(h.ctx, from, to, func(k, v []byte) error {
			list = append(list, string(k)+"="+string(v))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return list
	}
	spaces := map[string]store.Raw{}
	for _, space := range []string{"lease", "leases"} {
		r, err := db.Raw(space)
		if err != nil {
			t.Fatal(err)
		}
		spaces[space] = r
		err = r.Commit(h.ctx, []store.RawOp{
			{Key: []byte{0}, Value: []byte(space)},
			{Key: []byte("m"), Value: []byte(space)},
			{Key: []byte{0xff, 0xff}, Value: []byte(space)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for space, r := range spaces {
		all := []string{"\x00=" + space, "m=" + space, "\xff\xff=" + space}
		if got := keysOf(r, nil, nil); !slices.Equal(got, all) {
			t.Errorf("space %s holds %q, want %q", space, got, all)
		}
		if got := keysOf(r, []byte("m"), []byte("n")); !slices.Equal(got, all[1:2]) {
			t.Errorf("space %s from m to n holds %q, want %q", space, got, all[1:2])
		}
	}
	h.wantIDs(db, th.table, store.Range{}, "a")
	stop := errors.New("stop")
	if err := spaces["lease"].Scan(h.ctx, nil, nil, func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("scan stopped by its function: got %v, want %v", err, stop)
	}
	if err := spaces["lease"].Commit(h.ctx, []store.RawOp{{Value: []byte("v")}}); err == nil {
		t.Error("a write with an empty key was taken")
	}
	for _, bad := range []string{"", "a\x00b", "ä"} {
		if _, err := db.Raw(bad); err == nil {
			t.Errorf("raw space %q was given", bad)
		}
	}
}

// testRawConcurrent commits from many sides at once, beside Updates, and checks
// that every batch is whole in every snapshot.
func testRawConcurrent(t *testing.T, h *harness) {
	whole := func(kv store.Txn) error {
		seen := map[string]string{}
		err := kv.Scan([]byte("r/"), []byte("r0"), false, func(k, v []byte) bool {
			seen[string(k)] = string(v)
			return true
		})
		for k, v := range seen {
			if twin := "r/" + string(k[len(k)-1]^1); seen[twin] != v {
				return fmt.Errorf("half a batch: %s has %s, %s has %s", k, v, twin, seen[twin])
			}
		}
		return err
	}
	parallel(t, 8, func(i int) error {
		for n := range 50 {
			v := []byte(fmt.Sprintf("%d/%d", i, n))
			err := h.Commit(h.ctx, []byte("r/"), []store.RawOp{{Key: []byte("0"), Value: v}, {Key: []byte("1"), Value: v}})
			if n%10 == 0 {
				err = errors.Join(err, h.Update(h.ctx, func(kv store.Txn) error { return increment(kv, "n", 1) }))
			}
			if err = errors.Join(err, h.View(h.ctx, whole)); err != nil {
				return err
			}
		}
		return nil
	})
	if n := h.get("n"); n != "40" {
		t.Errorf("the Updates between counted %s, want 40", n)
	}
}

// db opens the engine as a DB with the given tables.
func (h *harness) db(tables ...store.Schema) *store.DB {
	h.t.Helper()
	db, err := store.Open(h.ctx, h.Engine, slog.New(slog.DiscardHandler), tables...)
	if err != nil {
		h.t.Fatalf("open: %v", err)
	}
	return db
}
