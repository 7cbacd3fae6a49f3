package pebblekv_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// crashPoints is a disk that keeps what a crash would leave at each moment that
// matters: before each sync, creation, removal and renaming.
type crashPoints struct {
	disk *vfs.MemFS
	mu   sync.Mutex
	left []*vfs.MemFS // guarded by mu
}

func (c *crashPoints) String() string { return "crash points" }

func (c *crashPoints) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRemove, errorfs.OpRename, errorfs.OpMkdirAll,
		errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.left = append(c.left, c.disk.CrashClone(vfs.CrashCloneCfg{}))
	}
	return nil
}

// everyCrash runs fn on disk, and then check on what a crash at each moment of it
// would have left.
func everyCrash(t *testing.T, disk *vfs.MemFS, fn func(fs vfs.FS), check func(t *testing.T, left *vfs.MemFS)) {
	t.Helper()
	points := &crashPoints{disk: disk}
	fn(errorfs.Wrap(disk, points))
	points.left = append(points.left, disk.CrashClone(vfs.CrashCloneCfg{}))
	if len(points.left) < 5 {
		t.Fatalf("only %d moments to crash at", len(points.left))
	}
	for i, left := range points.left {
		if check(t, left); t.Failed() {
			t.Fatalf("after a crash at moment %d of %d", i+1, len(points.left))
		}
	}
}

// TestCrashWhileCreating: what is left of a store that was being made is a store.
func TestCrashWhileCreating(t *testing.T) {
	everyCrash(t, vfs.NewCrashableMem(),
		func(fs vfs.FS) { closeEngine(t, open(t, "a/b/db", fs)) },
		func(t *testing.T, left *vfs.MemFS) {
			for range 2 {
				e := open(t, "a/b/db", left)
				err := e.Update(t.Context(), func(kv store.Txn) error { return kv.Set([]byte("a"), nil) })
				if err != nil {
					t.Error(err)
				}
				closeEngine(t, e)
			}
		})
}

func closeEngine(t *testing.T, e *pebblekv.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

type host struct{ ID, Name string }

const hosts = 1200 // more than one transaction of a rebuild

func hostTable(version int, index string) (*store.Table[host], *store.Index[host]) {
	t := store.NewTable("hosts", version, func(v *host) store.Key { return store.K(v.ID) })
	ix := store.NewIndex(t, index, func(v *host) []store.Key { return []store.Key{store.K(v.Name)} }, false)
	return t, ix
}

// TestCrashWhileRebuilding crashes an Open that changes a table's indexes, at
// every moment: the next Open must find or make them complete.
func TestCrashWhileRebuilding(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	disk := vfs.NewCrashableMem()
	e := open(t, "db", disk)
	table, _ := hostTable(1, "old")
	db, err := store.Open(t.Context(), e, quiet, table)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		for i := range hosts {
			if err := table.Put(tx, host{ID: fmt.Sprintf("%05d", i), Name: fmt.Sprintf("%05d", hosts-i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, left *vfs.MemFS) {
		table, byName := hostTable(1, "new")
		db, err := store.Open(t.Context(), open(t, "db", left), quiet, table)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.View(t.Context(), func(tx *store.Tx) error {
			n := 0
			for v, err := range byName.Scan(tx, store.Range{}) {
				if n++; err != nil || v.Name != fmt.Sprintf("%05d", n) {
					return fmt.Errorf("row %d by name is %+v: %w", n, v, err)
				}
			}
			if n != hosts {
				t.Errorf("the index leads to %d rows, want %d", n, hosts)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	everyCrash(t, disk, func(fs vfs.FS) {
		table, _ := hostTable(1, "new")
		db, err := store.Open(t.Context(), open(t, "db", fs), quiet, table)
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}, check)
}

// oldStore makes a store whose files are of the oldest version, with one key.
func oldStore(t *testing.T) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewCrashableMem()
	db, err := pebble.Open("db", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatMinSupported})
	if err == nil {
		err = errors.Join(db.Set([]byte("a"), []byte("1"), pebble.Sync), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func fileVersion(t *testing.T, fs vfs.FS) pebble.FormatMajorVersion {
	t.Helper()
	desc, err := pebble.Peek("db", fs)
	if err != nil {
		t.Fatal(err)
	}
	return desc.FormatMajorVersion
}

// TestUpgrade: Open leaves the version of the files as it is, Upgrade raises it,
// and a crash at any moment of that leaves a store that can be upgraded.
func TestUpgrade(t *testing.T) {
	disk := oldStore(t)
	closeEngine(t, open(t, "db", disk))
	if got := fileVersion(t, disk); got != pebble.FormatMinSupported {
		t.Errorf("after Open the files are of version %d, want %d as before", got, pebble.FormatMinSupported)
	}
	everyCrash(t, disk,
		func(fs vfs.FS) {
			if err := pebblekv.Upgrade("db", pebblekv.Options{FS: fs}); err != nil {
				t.Fatal(err)
			}
		},
		func(t *testing.T, left *vfs.MemFS) {
			for range 2 {
				e := open(t, "db", left)
				err := e.View(t.Context(), func(kv store.Txn) error {
					_, err := kv.Get([]byte("a"))
					return err
				})
				closeEngine(t, e)
				if err = errors.Join(err, pebblekv.Upgrade("db", pebblekv.Options{FS: left})); err != nil {
					t.Error(err)
				}
			}
			if got := fileVersion(t, left); got != pebblekv.Format {
				t.Errorf("files are of version %d, want %d", got, pebblekv.Format)
			}
		})
}

// TestNewerFilesAreRefused gives a store the marker of a version to come.
func TestNewerFilesAreRefused(t *testing.T) {
	for _, c := range []struct {
		version string
		want    error
		text    string
	}{
		{"999", store.ErrNewer, fmt.Sprintf("its files are of version 999, this program knows up to %d", pebblekv.Format)},
		{"001", store.ErrOlder, fmt.Sprintf("its files are of version 1, this program knows none below %d", pebble.FormatMinSupported)},
	} {
		disk := oldStore(t)
		names, err := disk.List("db")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(name, "marker.format-version.") {
				if err := disk.Rename("db/"+name, "db/marker.format-version.000999."+c.version); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err = pebblekv.Open("db", pebblekv.Options{FS: disk})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("files of version %s: got %v, want %v with %q", c.version, err, c.want, c.text)
		}
	}
}

// TestDirectoryIsLocked opens a store twice.
func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir, nil)
	defer e.Close()
	if second, err := pebblekv.Open(dir, pebblekv.Options{}); err == nil {
		second.Close()
		t.Error("a store was opened twice")
	} else if !strings.Contains(err.Error(), dir) {
		t.Errorf("the refusal does not name the store: %v", err)
	}
}
