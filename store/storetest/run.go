// Package storetest is the suite that every engine of package store passes. It
// holds what [store.Engine] and [store.Txn] promise, and runs the tables, indexes
// and raw spaces of package store over the engine.
//
// It does not hold what only an engine's own tests can reach: what survives a
// crash, and what happens when a write fails.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/gantry-pod/gantry/store"
)

// Run runs the suite. open gives an engine; called with a new t its store must be
// empty, and called again with the same t, after the engine was closed, it must
// be the same store.
func Run(t *testing.T, open func(t *testing.T) store.Engine) {
	cases := []struct {
		name string
		run  func(t *testing.T, h *harness)
	}{
		{"Order", testOrder},
		{"Bounds", testBounds},
		{"PrefixOfFF", testPrefixOfFF},
		{"Model", testModel},
		{"BigValues", testBigValues},
		{"ValuesAreCopied", testValuesAreCopied},
		{"ScanDuringWrites", testScanDuringWrites},
		{"ScanStops", testScanStops},

		{"RollBack", testRollBack},
		{"PanicRollsBack", testPanicRollsBack},
		{"ReadOnly", testReadOnly},
		{"DeadTransaction", testDeadTransaction},
		{"Context", testContext},
		{"Counters", testCounters},
		{"WriteSkew", testWriteSkew},
		{"Phantom", testPhantom},
		{"Transfers", testTransfers},
		{"ViewIsASnapshot", testViewIsASnapshot},
		{"ViewSeesAcknowledged", testViewSeesAcknowledged},
		{"ViewsDoNotWait", testViewsDoNotWait},
		{"Listen", testListen},
		{"Close", testClose},
		{"Reopen", testReopen},

		{"RawBatch", testRawBatch},
		{"RawDoesNotWaitForUpdate", testRawDoesNotWaitForUpdate},
		{"RawSpacesAreApart", testRawSpacesAreApart},
		{"RawConcurrent", testRawConcurrent},

		{"Rows", testRows},
		{"RowScans", testRowScans},
		{"Index", testIndex},
		{"UniqueIndex", testUniqueIndex},
		{"IndexFollowsRows", testIndexFollowsRows},
		{"ScanWhileChangingRows", testScanWhileChangingRows},
		{"Watch", testWatch},
		{"Migration", testMigration},
		{"IndexesAreRebuilt", testIndexesAreRebuilt},
		{"NewerIsRefused", testNewerIsRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{t: t, open: open, ctx: t.Context()}
			h.Engine = open(t)
			t.Cleanup(func() {
				if err := h.Engine.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.run(t, h)
		})
	}
}

// harness is the engine under test with what makes tests short.
type harness struct {
	store.Engine
	t    *testing.T
	open func(t *testing.T) store.Engine
	ctx  context.Context
}

// reopen closes the engine and opens its store again.
func (h *harness) reopen() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatalf("close: %v", err)
	}
	h.Engine = h.open(h.t)
}

func (h *harness) update(fn func(kv store.Txn) error) {
	h.t.Helper()
	if err := h.Update(h.ctx, fn); err != nil {
		h.t.Fatalf("update: %v", err)
	}
}

func (h *harness) view(fn func(kv store.Txn) error) {
	h.t.Helper()
	if err := h.View(h.ctx, fn); err != nil {
		h.t.Fatalf("view: %v", err)
	}
}

// set stores pairs, given as key, value, key, value.
func (h *harness) set(pairs ...string) {
	h.t.Helper()
	h.update(func(kv store.Txn) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := kv.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// get gives a key's value in a View, or "-" if there is none.
func (h *harness) get(key string) string {
	h.t.Helper()
	var value string
	h.view(func(kv store.Txn) (err error) {
		value, err = get(kv, key)
		return err
	})
	return value
}

func get(kv store.Txn, key string) (string, error) {
	b, err := kv.Get([]byte(key))
	if errors.Is(err, store.ErrNotFound) {
		return "-", nil
	}
	return string(b), err
}

// keys lists the keys of a range.
func keys(kv store.Txn, from, to []byte, reverse bool) (list []string, err error) {
	err = kv.Scan(from, to, reverse, func(key, _ []byte) bool {
		list = append(list, string(key))
		return true
	})
	return list, err
}

func (h *harness) wantKeys(from, to []byte, reverse bool, want ...string) {
	h.t.Helper()
	h.view(func(kv store.Txn) error {
		got, err := keys(kv, from, to, reverse)
		if !slices.Equal(got, want) {
			h.t.Errorf("scan of [%q, %q) reverse=%v: got %q, want %q", from, to, reverse, got, want)
		}
		return err
	})
}

// SeedEnv names the environment variable that repeats a random test with the seed
// that its log showed.
const SeedEnv = "GANTRY_TEST_SEED"

// Seed gives the seed of a random test: a new one, unless SeedEnv sets it.
func Seed() uint64 {
	if seed, err := strconv.ParseUint(os.Getenv(SeedEnv), 10, 64); err == nil {
		return seed
	}
	return rand.Uint64()
}

// random gives a source whose seed the test's log shows.
func random(t *testing.T) *rand.Rand {
	seed := Seed()
	t.Logf("seed %d: repeat with %s=%[1]d", seed, SeedEnv)
	return rand.New(rand.NewPCG(seed, 0))
}

// parallel runs fn n times at once, waits, and fails the test on an error.
func parallel(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func name(i int) string { return fmt.Sprintf("%05d", i) }
