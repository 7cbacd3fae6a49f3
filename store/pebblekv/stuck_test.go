package pebblekv

import (
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gantry-pod/gantry/store"
)

// TestPanicInPebble: a panic in the commit pipeline, after which Pebble's own lock
// may be held for ever, fails the engine. Nobody waits for ever, and Close says
// that the files stay locked instead of closing Pebble.
func TestPanicInPebble(t *testing.T) {
	e, err := Open("db", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	put := func() error {
		return e.Update(t.Context(), func(kv store.Txn) error { return kv.Set([]byte("a"), nil) })
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	e.commits.mu.Lock()
	open := e.commits.open
	e.commits.enter(func() error { panic("on purpose") })
	e.commits.mu.Unlock()
	if err := open.wait(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("the open group: got %v, want %v", err, store.ErrFailed)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := put(); !errors.Is(err, store.ErrFailed) {
				t.Errorf("Update: got %v, want %v", err, store.ErrFailed)
			}
			if err := e.Commit(t.Context(), nil, []store.RawOp{{Key: []byte("b")}}); !errors.Is(err, store.ErrFailed) {
				t.Errorf("Commit: got %v, want %v", err, store.ErrFailed)
			}
		})
	}
	wg.Wait()
	err = e.View(t.Context(), func(kv store.Txn) error {
		_, err := kv.Get([]byte("a"))
		return err
	})
	if err != nil {
		t.Errorf("View: %v", err)
	}
	if err := e.Close(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("Close: got %v, want %v", err, store.ErrFailed)
	}
}
