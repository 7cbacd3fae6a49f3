package pebblekv_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/storetest"
)

// The workload of the crash tests: each writer commits transaction 1, 2, 3 … of
// its own, which sets the writer's counter and adds rows that bear the number.
// Whether what a crash left is whole can be read off it.
const (
	updaters   = 4
	committers = 3
	writers    = updaters + committers
)

func counterKey(w int) []byte { return fmt.Appendf(nil, "counter/%d", w) }
func rowKey(w, n, i int) []byte {
	return fmt.Appendf(nil, "row/%d/%08d/%d", w, n, i)
}

// rowsOf gives how many rows transaction n writes, and how big they are: some
// fill a log block, and some make the memory table rotate.
func rowsOf(n int) (count, size int) {
	switch {
	case n%50 == 0:
		return 2, 150_000
	case n%7 == 0:
		return 3, 40_000
	}
	return 1 + n%4, 20
}

// load runs the workload on an engine, and knows what a crash must leave.
type load struct {
	engine store.Engine
	from   [writers]int          // where each writer begins
	acked  [writers]atomic.Int64 // what the engine has acknowledged
	seen   [writers]atomic.Int64 // what a View, or a failed or idle Update, has shown
	acks   chan struct{}         // one for each acknowledgement
	stop   chan struct{}
	wg     sync.WaitGroup
}

func startLoad(ctx context.Context, e store.Engine, from [writers]int) *load {
	l := &load{engine: e, from: from, acks: make(chan struct{}, 1<<16), stop: make(chan struct{})}
	for w := range writers {
		l.acked[w].Store(int64(from[w]))
		l.wg.Go(func() { l.write(ctx, w) })
	}
	for i := range 2 {
		l.wg.Go(func() { l.read(ctx, i == 0) })
	}
	return l
}

// halt ends the load.
func (l *load) halt() {
	close(l.stop)
	l.wg.Wait()
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// write commits until stop or until the engine fails.
func (l *load) write(ctx context.Context, w int) {
	for n := l.from[w] + 1; !l.stopped(); n++ {
		if err := commitRows(ctx, l.engine, w, n); err != nil {
			return
		}
		l.acked[w].Store(int64(n))
		select {
		case l.acks <- struct{}{}:
		default:
		}
	}
}

// commitRows commits transaction n of writer w, by Update or by Commit.
func commitRows(ctx context.Context, e store.Engine, w, n int) error {
	if w < updaters {
		return e.Update(ctx, func(kv store.Txn) error { return writeRows(w, n, kv.Set) })
	}
	var ops []store.RawOp
	err := writeRows(w, n, func(k, v []byte) error {
		ops = append(ops, store.RawOp{Key: k, Value: v})
		return nil
	})
	return errors.Join(err, e.Commit(ctx, nil, ops))
}

func writeRows(w, n int, set func(k, v []byte) error) error {
	count, size := rowsOf(n)
	err := set(counterKey(w), binary.BigEndian.AppendUint64(nil, uint64(n)))
	for i := range count {
		err = errors.Join(err, set(rowKey(w, n, i), bytes.Repeat([]byte{byte(n + i)}, size)))
	}
	return err
}

var errLook = errors.New("only looked")

// read looks at the counters, by View or by an Update that fails in the end. What
// it is shown must survive, once the call has returned.
func (l *load) read(ctx context.Context, view bool) {
	for !l.stopped() {
		var got [writers]int
		look := func(kv store.Txn) (err error) {
			got, err = counters(kv)
			return err
		}
		var err error
		if view {
			err = l.engine.View(ctx, look)
		} else if err = l.engine.Update(ctx, func(kv store.Txn) error { return errors.Join(look(kv), errLook) }); errors.Is(err, errLook) {
			err = nil
		}
		if err != nil {
			return
		}
		for w, n := range got {
			l.seen[w].Store(max(l.seen[w].Load(), int64(n)))
		}
	}
}

func counters(kv store.Txn) (got [writers]int, err error) {
	for w := range writers {
		b, err := kv.Get(counterKey(w))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return got, err
		default:
			got[w] = int(binary.BigEndian.Uint64(b))
		}
	}
	return got, nil
}

// promised gives what must be there whatever happens from now on.
func (l *load) promised() (atLeast [writers]int) {
	for w := range writers {
		atLeast[w] = int(max(l.acked[w].Load(), l.seen[w].Load()))
	}
	return atLeast
}

// checkWhole fails the test unless e holds at least what was promised, and each
// writer's transactions up to its counter whole, and nothing of any other.
func checkWhole(t *testing.T, e store.Engine, atLeast [writers]int) (got [writers]int) {
	t.Helper()
	err := e.View(t.Context(), func(kv store.Txn) (err error) {
		if got, err = counters(kv); err != nil {
			return err
		}
		want := 0
		for w, n := range got {
			if n < atLeast[w] {
				t.Errorf("writer %d: transaction %d was acknowledged or shown, but the crash left only %d", w, atLeast[w], n)
			}
			for i := 1; i <= n; i++ {
				count, _ := rowsOf(i)
				want += count
			}
		}
		rows := 0
		err = kv.Scan([]byte("row/"), []byte("row0"), false, func(k, v []byte) bool {
			rows++
			var w, n, i int
			fmt.Sscanf(string(k), "row/%d/%d/%d", &w, &n, &i)
			if _, size := rowsOf(n); n > got[w] || !bytes.Equal(v, bytes.Repeat([]byte{byte(n + i)}, size)) {
				t.Errorf("row %s of %d bytes: not one of the %d transactions of its writer", k, len(v), got[w])
			}
			return !t.Failed()
		})
		if rows != want && !t.Failed() {
			t.Errorf("the crash left %d rows, want the %d of the transactions that it left", rows, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// slowSync makes a sync of the log take as long as on a quick disk, so that there
// is always something applied and not yet durable.
var slowSync = errorfs.InjectorFunc(func(op errorfs.Op) error {
	if slices.Contains(syncs, op.Kind) && filepath.Ext(op.Path) == ".log" {
		time.Sleep(300 * time.Microsecond)
	}
	return nil
})

// TestCrash crashes a store under load, again and again, each time keeping a
// random part of what was not synced. The seed settles when it crashes and what
// is kept, but not how the writers interleave.
func TestCrash(t *testing.T) {
	for range 5 {
		seed := storetest.Seed()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { crashRepeatedly(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func crashRepeatedly(t *testing.T, rng *rand.Rand) {
	disk := vfs.NewCrashableMem()
	var promised [writers]int
	for range 4 {
		e := open(t, "db", errorfs.Wrap(disk, slowSync))
		found := checkWhole(t, e, promised)

		// A process that dies leaves its writes to the system; what the next
		// one shows must then survive the machine's crash as well.
		survivor := open(t, "db", disk.CrashClone(vfs.CrashCloneCfg{}))
		checkWhole(t, survivor, found)

		l := startLoad(t.Context(), e, found)
		for range 1 + rng.IntN(250) {
			<-l.acks
		}
		promised = l.promised()
		disk = disk.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: []int{0, 30, 70, 100}[rng.IntN(4)],
			RNG:                 rng,
		})
		l.halt()
		if err := errors.Join(e.Close(), survivor.Close()); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}
