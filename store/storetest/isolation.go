package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/store"
)

func testRollBack(t *testing.T, h *harness) {
	h.set("a", "old")
	err := h.Update(h.ctx, func(kv store.Txn) error {
		if err := errors.Join(kv.Set([]byte("a"), []byte("new")), kv.Set([]byte("b"), nil)); err != nil {
			return err
		}
		return fmt.Errorf("no: %w", errAbort)
	})
	if !errors.Is(err, errAbort) {
		t.Errorf("got error %v, want the function's", err)
	}
	if a, b := h.get("a"), h.get("b"); a != "old" || b != "-" {
		t.Errorf("after the error: a=%s b=%s, want old and none", a, b)
	}
}

func testPanicRollsBack(t *testing.T, h *harness) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the function's panic was swallowed")
			}
		}()
		_ = h.Update(h.ctx, func(kv store.Txn) error {
			if err := kv.Set([]byte("a"), nil); err != nil {
				return err
			}
			panic("on purpose")
		})
	}()
	h.set("b", "1") // the engine is not left locked
	h.wantKeys(nil, nil, false, "b")
}

func testReadOnly(t *testing.T, h *harness) {
	h.view(func(kv store.Txn) error {
		for what, err := range map[string]error{
			"Set":    kv.Set([]byte("a"), nil),
			"Delete": kv.Delete([]byte("a")),
			"Touch":  kv.Touch("a"),
		} {
			if !errors.Is(err, store.ErrReadOnly) {
				t.Errorf("%s in a View: got %v, want %v", what, err, store.ErrReadOnly)
			}
		}
		return nil
	})
}

func testDeadTransaction(t *testing.T, h *harness) {
	var inUpdate, inView store.Txn
	h.update(func(kv store.Txn) error { inUpdate = kv; return kv.Set([]byte("a"), nil) })
	h.view(func(kv store.Txn) error { inView = kv; return nil })
	for which, kv := range map[string]store.Txn{"Update": inUpdate, "View": inView} {
		_, getErr := kv.Get([]byte("a"))
		for what, err := range map[string]error{
			"Get":    getErr,
			"Scan":   kv.Scan(nil, nil, false, func(_, _ []byte) bool { return true }),
			"Set":    kv.Set([]byte("a"), nil),
			"Delete": kv.Delete([]byte("a")),
			"Touch":  kv.Touch("a"),
		} {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s after the %s: got %v, want %v", what, which, err, store.ErrClosed)
			}
		}
	}
}

func testContext(t *testing.T, h *harness) {
	ended, cancel := context.WithCancel(h.ctx)
	cancel()
	write := func(kv store.Txn) error { return kv.Set([]byte("a"), nil) }
	for what, err := range map[string]error{
		"Update": h.Update(ended, write),
		"View":   h.View(ended, func(store.Txn) error { return nil }),
		"Commit": h.Commit(ended, nil, []store.RawOp{{Key: []byte("a")}}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: got %v, want %v", what, err, context.Canceled)
		}
	}
	during, cancel := context.WithCancel(h.ctx)
	err := h.Update(during, func(kv store.Txn) error {
		cancel()
		return write(kv)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("context ended in the function: got %v, want %v", err, context.Canceled)
	}
	h.wantKeys(nil, nil, false)
}

// increment adds to a decimal counter.
func increment(kv store.Txn, key string, by int) error {
	n, err := readInt(kv, key)
	if err != nil {
		return err
	}
	return kv.Set([]byte(key), []byte(strconv.Itoa(n+by)))
}

func readInt(kv store.Txn, key string) (int, error) {
	s, err := get(kv, key)
	if err != nil || s == "-" {
		return 0, err
	}
	return strconv.Atoi(s)
}

func testCounters(t *testing.T, h *harness) {
	const writers, each = 16, 25
	parallel(t, writers, func(int) error {
		for range each {
			if err := h.Update(h.ctx, func(kv store.Txn) error { return increment(kv, "n", 1) }); err != nil {
				return err
			}
		}
		return nil
	})
	if got, want := h.get("n"), strconv.Itoa(writers*each); got != want {
		t.Errorf("counter is %s, want %s", got, want)
	}
}

// rendezvous lets two transactions read before either writes, where the engine
// runs them at once; one that runs them in turn goes on after the wait.
func rendezvous(arrived *sync.WaitGroup) {
	both := make(chan struct{})
	go func() { arrived.Wait(); close(both) }()
	select {
	case <-both:
	case <-time.After(2 * time.Millisecond):
	}
}

// bothAtOnce runs fn(0) and fn(1) in two Updates that overlap if they can. fn
// calls meet between its reads and its writes.
func bothAtOnce(t *testing.T, h *harness, fn func(kv store.Txn, i int, meet func()) error) {
	t.Helper()
	var arrived sync.WaitGroup
	arrived.Add(2)
	parallel(t, 2, func(i int) error {
		var once sync.Once
		return h.Update(h.ctx, func(kv store.Txn) error {
			return fn(kv, i, func() {
				once.Do(arrived.Done)
				rendezvous(&arrived)
			})
		})
	})
}

// testWriteSkew: two doctors are on call, and either may leave if the other
// stays. Under snapshot isolation both would.
func testWriteSkew(t *testing.T, h *harness) {
	for range 20 {
		h.set("0", "on call", "1", "on call")
		bothAtOnce(t, h, func(kv store.Txn, i int, meet func()) error {
			other, err := get(kv, strconv.Itoa(1-i))
			if err != nil {
				return err
			}
			meet()
			if other != "on call" {
				return nil
			}
			return kv.Set([]byte(strconv.Itoa(i)), []byte("away"))
		})
		if h.get("0") == "away" && h.get("1") == "away" {
			t.Fatal("both left: the transactions were not serializable")
		}
	}
}

// testPhantom: two transactions each add a row if they count none.
func testPhantom(t *testing.T, h *harness) {
	for round := range 20 {
		from, to := []byte(name(round)), []byte(name(round+1))
		bothAtOnce(t, h, func(kv store.Txn, i int, meet func()) error {
			found, err := keys(kv, from, to, false)
			if err != nil {
				return err
			}
			meet()
			if len(found) > 0 {
				return nil
			}
			return kv.Set(fmt.Appendf(nil, "%s/%d", from, i), nil)
		})
		h.view(func(kv store.Txn) error {
			found, err := keys(kv, from, to, false)
			if len(found) != 1 {
				t.Errorf("round %d: rows %q, want exactly one", round, found)
			}
			return err
		})
	}
}

// testTransfers moves money about while others count it.
func testTransfers(t *testing.T, h *harness) {
	const accounts, total = 8, 800
	h.set(name(0), strconv.Itoa(total))
	count := func(kv store.Txn) error {
		sum := 0
		for i := range accounts {
			n, err := readInt(kv, name(i))
			if err != nil {
				return err
			}
			sum += n
		}
		if sum != total {
			return fmt.Errorf("a transaction counts %d, want %d", sum, total)
		}
		return nil
	}
	parallel(t, 6, func(i int) error {
		for n := range 40 {
			a, b := name((i*7+n*3)%accounts), name((i*5+n*11+1)%accounts)
			err := h.Update(h.ctx, func(kv store.Txn) error {
				return errors.Join(increment(kv, a, -n), increment(kv, b, n), count(kv))
			})
			if err = errors.Join(err, h.View(h.ctx, count)); err != nil {
				return err
			}
		}
		return nil
	})
}
