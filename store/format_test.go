package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

func openEngine(t testing.TB, fs vfs.FS) *pebblekv.Engine {
	t.Helper()
	e, err := pebblekv.Open("db", pebblekv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// put is a step that stores one key, and fails while broken is set.
func put(key string, broken *bool) func(context.Context, store.Engine) error {
	return func(ctx context.Context, e store.Engine) error {
		if *broken {
			return errBroken
		}
		return e.Update(ctx, func(kv store.Txn) error { return kv.Set([]byte(key), nil) })
	}
}

var errBroken = errors.New("broken")

func TestFormatRatchets(t *testing.T) {
	ctx := t.Context()
	e := openEngine(t, vfs.NewMem())
	var firstBroken, secondBroken bool
	v1 := store.NewFormat(1, nil)
	v3 := store.NewFormat(3, map[int]func(context.Context, store.Engine) error{
		1: put("step 1", &firstBroken), 2: put("step 2", &secondBroken),
	})
	open := func(f store.Format) error {
		_, err := store.OpenFormat(ctx, e, quiet(), f)
		return err
	}
	want := func(what string, got, want error, text string) {
		t.Helper()
		if !errors.Is(got, want) || got != nil && !strings.Contains(got.Error(), text) {
			t.Errorf("%s: got %v, want %v with %q", what, got, want, text)
		}
	}
	want("upgrade of an empty engine", store.UpgradeFormat(ctx, e, quiet(), v3), nil, "")
	want("new store", open(v1), nil, "")
	want("newer program, not told to upgrade", open(v3), store.ErrOlder, "the store is of format 1, this program writes 3")
	want("that has changed nothing", open(v1), nil, "")
	secondBroken = true
	want("upgrade cut short", store.UpgradeFormat(ctx, e, quiet(), v3), errBroken, "from format 2 to 3")
	want("half-way store, old program", open(v1), store.ErrNewer, "the store is of format 2, this program knows up to 1")
	want("half-way store, new program", open(v3), store.ErrOlder, "format 2")
	firstBroken, secondBroken = true, false // the first step is done and not run again
	want("upgrade taken up again", store.UpgradeFormat(ctx, e, quiet(), v3), nil, "")
	want("upgraded store", open(v3), nil, "")
	want("upgrade of what is up to date", store.UpgradeFormat(ctx, e, quiet(), v3), nil, "")
	want("upgraded store, old program", open(v1), store.ErrNewer, "the store is of format 3, this program knows up to 1")
	want("old program's upgrade", store.UpgradeFormat(ctx, e, quiet(), v1), store.ErrNewer, "format 3")
	want("this program's upgrade", store.Upgrade(ctx, e, quiet()), store.ErrNewer, "format 3, this program knows up to 1")
	want("no way", store.UpgradeFormat(ctx, e, quiet(), store.NewFormat(4, nil)), store.ErrOlder, "no way from format 3 to 4")
}

func TestForeignStoreIsRefused(t *testing.T) {
	e := openEngine(t, vfs.NewMem())
	err := e.Update(t.Context(), func(kv store.Txn) error { return kv.Set([]byte("other"), []byte("program")) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), e, quiet()); err == nil || !strings.Contains(err.Error(), "holds no store") {
		t.Errorf("got %v, want a refusal", err)
	}
}

type item struct{ ID string }

func items() *store.Table[item] {
	return store.NewTable("items", 2, func(v *item) store.Key { return store.K(v.ID) })
}

// TestMisuse lists the mistakes in a program that the package catches at start.
func TestMisuse(t *testing.T) {
	key := func(v *item) store.Key { return store.K(v.ID) }
	keys := func(v *item) []store.Key { return nil }
	sealed := items().Migrate(1, nil)
	if _, err := store.Open(t.Context(), openEngine(t, vfs.NewMem()), quiet(), sealed); err != nil {
		t.Fatal(err)
	}
	for what, fn := range map[string]func(){
		"table without a name":       func() { store.NewTable("", 1, key) },
		"table with a zero byte":     func() { store.NewTable("a\x00", 1, key) },
		"version 0":                  func() { store.NewTable("a", 0, key) },
		"index without a name":       func() { store.NewIndex(items(), "", keys, false) },
		"two indexes of one name":    func() { i := items(); store.NewIndex(i, "a", keys, false); store.NewIndex(i, "a", keys, true) },
		"migration from version 0":   func() { items().Migrate(0, nil) },
		"migration from the current": func() { items().Migrate(2, nil) },
		"index on a table in use":    func() { store.NewIndex(sealed, "a", keys, false) },
		"migration of one in use":    func() { sealed.Migrate(1, nil) },
	} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.HasPrefix(r, "store: ") {
					t.Errorf("%s: panic %q, want the store's", what, r)
				}
			}()
			fn()
		}()
	}
	if _, err := store.Open(t.Context(), openEngine(t, vfs.NewMem()), quiet(), items(), items()); err == nil {
		t.Error("two tables of one name were opened")
	}
}

// TestEmptyKey: a row whose key function gives nothing is refused.
func TestEmptyKey(t *testing.T) {
	table := store.NewTable("items", 1, func(v *item) store.Key { return nil })
	db, err := store.Open(t.Context(), openEngine(t, vfs.NewMem()), quiet(), table)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error { return table.Put(tx, item{}) })
	if err == nil || !strings.Contains(err.Error(), "key is empty") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestLongScanMindsItsContext ends a context in the middle of a scan.
func TestLongScanMindsItsContext(t *testing.T) {
	table := store.NewTable("items", 1, func(v *item) store.Key { return store.K(v.ID) })
	db, err := store.Open(t.Context(), openEngine(t, vfs.NewMem()), quiet(), table)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 1000 {
			if err := table.Put(tx, item{strings.Repeat("x", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rows := 0
	err = db.View(ctx, func(tx *store.Tx) error {
		for _, err := range table.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			rows++
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || rows == 1000 {
		t.Errorf("scan under an ended context: %d rows and %v, want fewer than 1000 and %v", rows, err, context.Canceled)
	}
}
