package pebblekv_test

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
	"github.com/gantry-pod/gantry/store/storetest"
)

// TestSuiteInMemory runs the suite on Pebble's file system in memory.
func TestSuiteInMemory(t *testing.T) {
	var mu sync.Mutex
	disks := map[string]vfs.FS{}
	storetest.Run(t, func(t *testing.T) store.Engine {
		mu.Lock()
		defer mu.Unlock()
		if disks[t.Name()] == nil {
			disks[t.Name()] = vfs.NewMem()
		}
		return open(t, "db", disks[t.Name()])
	})
}

// TestSuiteOnDisk runs the suite on real files.
func TestSuiteOnDisk(t *testing.T) {
	var mu sync.Mutex
	dirs := map[string]string{}
	storetest.Run(t, func(t *testing.T) store.Engine {
		mu.Lock()
		defer mu.Unlock()
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		return open(t, dirs[t.Name()], nil)
	})
}

// open opens a store whose log is the test's.
func open(t testing.TB, dir string, fs vfs.FS) *pebblekv.Engine {
	t.Helper()
	e, err := pebblekv.Open(dir, pebblekv.Options{FS: fs, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
