package pebblekv_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/store"
)

// gate lets a test hold the log's syncs.
type gate struct {
	held  atomic.Bool
	begun chan struct{} // receives when a sync is held
	open  chan struct{} // a held sync goes on when this is closed
	syncs atomic.Int64
}

func newGate() *gate { return &gate{begun: make(chan struct{}, 1), open: make(chan struct{})} }

func (g *gate) String() string { return "gate" }

func (g *gate) MaybeError(op errorfs.Op) error {
	if filepath.Ext(op.Path) != ".log" || !slices.Contains(syncs, op.Kind) {
		return nil
	}
	g.syncs.Add(1)
	if g.held.Load() {
		select {
		case g.begun <- struct{}{}:
		default:
		}
		<-g.open
	}
	return nil
}

// TestGroupCommit holds one sync while a hundred more transactions are applied:
// they are not acknowledged, no View sees them, later Updates do, and one more
// sync makes all of them durable.
func TestGroupCommit(t *testing.T) {
	const commits = 100
	g := newGate()
	e := open(t, "db", errorfs.Wrap(vfs.NewMem(), g))
	defer closeEngine(t, e)
	g.held.Store(true)
	var acked atomic.Int64
	var wg sync.WaitGroup
	commit := func(i int) {
		err := e.Update(t.Context(), func(kv store.Txn) error { return kv.Set(fmt.Appendf(nil, "%03d", i), nil) })
		if err != nil {
			t.Error(err)
		}
		acked.Add(1)
	}
	wg.Go(func() { commit(0) })
	<-g.begun
	before := g.syncs.Load()
	for i := 1; i < commits; i++ {
		wg.Go(func() { commit(i) })
	}
	// An Update sees what was applied, and returns once that is durable.
	for n := 0; n < commits; {
		looked := make(chan int)
		wg.Go(func() {
			var n int
			err := e.Update(t.Context(), func(kv store.Txn) error {
				n = count(t, kv)
				looked <- n
				return errLook
			})
			if !errors.Is(err, errLook) {
				t.Error(err)
			}
			if err := e.View(t.Context(), func(kv store.Txn) error {
				if durable := count(t, kv); durable < n {
					t.Errorf("a reading Update returned what it saw of %d transactions when %d were durable", n, durable)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
		n = <-looked
	}
	if err := e.View(t.Context(), func(kv store.Txn) error {
		if n := count(t, kv); n != 0 || acked.Load() != 0 {
			t.Errorf("with the sync held a View sees %d transactions and %d are acknowledged, want none", n, acked.Load())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	close(g.open)
	wg.Wait()
	if more := g.syncs.Load() - before; more != 1 {
		t.Errorf("%d transactions took %d more syncs, want 1", commits-1, more)
	}
	if err := e.View(t.Context(), func(kv store.Txn) error {
		if n := count(t, kv); n != commits {
			t.Errorf("%d transactions are there, want %d", n, commits)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func count(t *testing.T, kv store.Txn) (n int) {
	err := kv.Scan(nil, nil, false, func(_, _ []byte) bool { n++; return true })
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestContextWhileWaiting ends the context of an Update that waits its turn: it
// returns at once. One that waits for its sync goes on, as it may be durable.
func TestContextWhileWaiting(t *testing.T) {
	g := newGate()
	e := open(t, "db", errorfs.Wrap(vfs.NewMem(), g))
	defer closeEngine(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	inside, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- e.Update(t.Context(), func(kv store.Txn) error {
			close(inside)
			<-goOn
			return nil
		})
	}()
	<-inside
	waiting := make(chan error, 1)
	go func() { waiting <- e.Update(ctx, func(store.Txn) error { return nil }) }()
	cancel()
	select {
	case err := <-waiting:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Update that waited its turn: got %v, want %v", err, context.Canceled)
		}
	case <-time.After(10 * time.Second):
		t.Error("an ended context does not end the wait for the turn")
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}

	g.held.Store(true)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		done <- e.Update(ctx, func(kv store.Txn) error { return kv.Set([]byte("a"), nil) })
	}()
	<-g.begun
	cancel()
	close(g.open)
	if err := <-done; err != nil {
		t.Errorf("context ended during the sync: got %v, want the sync's outcome", err)
	}
}
