package pebblekv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/storetest"
)

// logFault makes operations of one kind on the log fail, from the one that comes
// when the countdown is over.
type logFault struct {
	kinds     []errorfs.OpKind
	countdown atomic.Int64 // not above 0: failing
}

// never is a countdown that does not end.
const never = 1 << 40

var errDisk = errors.New("disk has failed")

func (f *logFault) String() string { return "log fault" }

func (f *logFault) MaybeError(op errorfs.Op) error {
	if filepath.Ext(op.Path) != ".log" {
		return nil
	}
	for _, kind := range f.kinds {
		if op.Kind == kind && f.countdown.Add(-1) < 0 {
			return fmt.Errorf("%s: %w", op.Path, errDisk)
		}
	}
	return nil
}

var (
	syncs  = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	writes = []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt}
)

// TestFailedLog lets the log's syncs or writes fail under load: the engine must
// acknowledge nothing more, and what it did acknowledge must be there afterwards,
// also if the machine then crashes.
func TestFailedLog(t *testing.T) {
	for what, kinds := range map[string][]errorfs.OpKind{"Sync": syncs, "Write": writes} {
		for range 6 {
			seed := storetest.Seed()
			t.Run(fmt.Sprintf("%s/seed=%d", what, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 0))
				failUnderLoad(t, kinds, 1+rng.Int64N(150), vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * rng.IntN(2), RNG: rng})
			})
		}
	}
}

func failUnderLoad(t *testing.T, kinds []errorfs.OpKind, after int64, crash vfs.CrashCloneCfg) {
	fault := &logFault{kinds: kinds}
	fault.countdown.Store(never)
	disk := vfs.NewCrashableMem()
	e := open(t, "db", errorfs.Wrap(disk, fault))
	fault.countdown.Store(after)

	l := startSmallLoad(t.Context(), e)
	l.wg.Wait() // each writer ends when its commit fails
	checkFailed(t, e)
	promised := l.promised()
	seen := checkCounters(t, e, promised)
	if err := e.Close(); err != nil {
		t.Logf("close: %v", err)
	}
	after2 := open(t, "db", disk.CrashClone(crash))
	defer after2.Close()
	checkCounters(t, after2, seen)
}

// startSmallLoad starts the writers, with rows so small that the log is never
// rotated: a failure there ends the process (TestFatal).
func startSmallLoad(ctx context.Context, e store.Engine) *load {
	l := &load{engine: e, stop: make(chan struct{})}
	for w := range writers {
		l.wg.Go(func() {
			for n := 1; ; n++ {
				set := func(kv store.Txn) error { return kv.Set(counterKey(w), fmt.Appendf(nil, "%08d", n)) }
				var err error
				if w < updaters {
					err = e.Update(ctx, set)
				} else {
					err = e.Commit(ctx, nil, []store.RawOp{{Key: counterKey(w), Value: fmt.Appendf(nil, "%08d", n)}})
				}
				if err != nil {
					return
				}
				l.acked[w].Store(int64(n))
			}
		})
	}
	return l
}

// checkFailed expects every way of writing to be refused, Views to be served, and
// an Update that only reads to be refused as well: it would see what is not durable.
func checkFailed(t *testing.T, e store.Engine) {
	t.Helper()
	nothing := func(kv store.Txn) error { return nil }
	for what, err := range map[string]error{
		"Update":         e.Update(t.Context(), func(kv store.Txn) error { return kv.Set([]byte("x"), nil) }),
		"reading Update": e.Update(t.Context(), nothing),
		"Commit":         e.Commit(t.Context(), nil, []store.RawOp{{Key: []byte("x")}}),
	} {
		if !errors.Is(err, store.ErrFailed) || !errors.Is(err, errDisk) {
			t.Errorf("%s after the failure: got %v, want %v with the cause", what, err, store.ErrFailed)
		}
	}
	if err := e.View(t.Context(), nothing); err != nil {
		t.Errorf("View after the failure: %v", err)
	}
}

// checkCounters expects what was promised, and returns what is there.
func checkCounters(t *testing.T, e store.Engine, atLeast [writers]int) (got [writers]int) {
	t.Helper()
	err := e.View(t.Context(), func(kv store.Txn) error {
		for w := range writers {
			b, err := kv.Get(counterKey(w))
			if errors.Is(err, store.ErrNotFound) {
				b, err = []byte("0"), nil
			}
			if err != nil {
				return err
			}
			fmt.Sscanf(string(b), "%d", &got[w])
			if got[w] < atLeast[w] {
				t.Errorf("writer %d: %d was acknowledged or shown, %d is there", w, atLeast[w], got[w])
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// TestFailedFlushIsRetried lets tables fail to be written a few times: that is
// reported and tried again, and no commit fails of it.
func TestFailedFlushIsRetried(t *testing.T) {
	var failures atomic.Int64
	failures.Store(3)
	recovered := make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpCreate || filepath.Ext(op.Path) != ".sst" {
			return nil
		}
		switch n := failures.Add(-1); {
		case n >= 0:
			return errDisk
		case n == -1:
			close(recovered)
		}
		return nil
	}))
	e := open(t, "db", fs)
	defer closeEngine(t, e)
	for n := 1; ; n++ {
		if err := commitRows(t.Context(), e, 0, n); err != nil {
			t.Fatal(err)
		}
		select {
		case <-recovered:
			promised := [writers]int{n}
			checkWhole(t, e, promised)
			return
		default:
		}
	}
}
