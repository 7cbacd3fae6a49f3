package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/gantry-pod/gantry/store"
)

func testViewIsASnapshot(t *testing.T, h *harness) {
	h.set("a", "1", "b", "1")
	h.view(func(kv store.Txn) error {
		h.set("a", "2", "c", "2")
		h.update(func(kv store.Txn) error { return kv.Delete([]byte("b")) })
		a, err := get(kv, "a")
		if a != "1" {
			t.Errorf("a is %s in a View begun before it changed", a)
		}
		seen, scanErr := keys(kv, nil, nil, false)
		if want := []string{"a", "b"}; !slices.Equal(seen, want) {
			t.Errorf("the View's keys are %q, want %q", seen, want)
		}
		return errors.Join(err, scanErr)
	})
	h.wantKeys(nil, nil, false, "a", "c")
}

// testViewSeesAcknowledged has every writer look for its own write, by View and
// by Update, as soon as it was acknowledged.
func testViewSeesAcknowledged(t *testing.T, h *harness) {
	parallel(t, 8, func(i int) error {
		for n := range 25 {
			key := []byte(fmt.Sprintf("%d/%d", i, n))
			var err error
			if n%2 == 0 {
				err = h.Update(h.ctx, func(kv store.Txn) error { return kv.Set(key, key) })
			} else {
				err = h.Commit(h.ctx, nil, []store.RawOp{{Key: key, Value: key}})
			}
			if err != nil {
				return err
			}
			look := func(kv store.Txn) error {
				if _, err := kv.Get(key); err != nil {
					return fmt.Errorf("own write %s: %w", key, err)
				}
				return nil
			}
			if err := errors.Join(h.View(h.ctx, look), h.Update(h.ctx, look)); err != nil {
				return err
			}
		}
		return nil
	})
}

// testViewsDoNotWait reads while an Update's function stands still, and does not
// see its writes.
func testViewsDoNotWait(t *testing.T, h *harness) {
	h.set("a", "1")
	standing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	go func() {
		done <- h.Update(h.ctx, func(kv store.Txn) error {
			err := kv.Set([]byte("a"), []byte("2"))
			once.Do(func() { close(standing) })
			<-goOn
			return err
		})
	}()
	<-standing
	if a := h.get("a"); a != "1" {
		t.Errorf("a View sees %s, which is not committed", a)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a := h.get("a"); a != "2" {
		t.Errorf("a is %s after the commit, want 2", a)
	}
}

func testListen(t *testing.T, h *harness) {
	told := make(chan []string, 16)
	stop := h.Listen(func(topics []string) {
		told <- slices.Clone(topics)
	})
	touch := func(fail error, topics ...string) error {
		return h.Update(h.ctx, func(kv store.Txn) error {
			for _, topic := range topics {
				if err := errors.Join(kv.Touch(topic), kv.Set([]byte(topic), nil)); err != nil {
					return err
				}
			}
			return fail
		})
	}
	if err := touch(errAbort, "aborted"); !errors.Is(err, errAbort) {
		t.Fatal(err)
	}
	if err := touch(nil, "a", "b", "a"); err != nil {
		t.Fatal(err)
	}
	got := <-told
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listener was told of %q, want a and b", got)
	}
	stop()
	if err := touch(nil, "late"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-told:
		t.Errorf("listener was told of %q after stop", got)
	default:
	}
}

// testClose begins work on a closed engine, and closes one with work under way.
func testClose(t *testing.T, h *harness) {
	h.set("a", "1")
	inside, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.View(h.ctx, func(kv store.Txn) error {
			close(inside)
			<-goOn
			_, err := kv.Get([]byte("a"))
			return err
		})
	}()
	<-inside
	closed := make(chan error, 1)
	go func() { closed <- h.Engine.Close() }()
	close(goOn)
	if err := errors.Join(<-done, <-closed); err != nil {
		t.Fatalf("a View under way and the Close that waits for it: %v", err)
	}
	nothing := func(store.Txn) error { return nil }
	for what, err := range map[string]error{
		"Update": h.Update(h.ctx, nothing),
		"View":   h.View(h.ctx, nothing),
		"Commit": h.Commit(h.ctx, nil, []store.RawOp{{Key: []byte("a")}}),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: got %v, want %v", what, err, store.ErrClosed)
		}
	}
	if err := h.Engine.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func testReopen(t *testing.T, h *harness) {
	for i := range 5 {
		h.set(name(i), "v"+name(i))
		h.reopen()
	}
	for i := range 5 {
		if got, want := h.get(name(i)), "v"+name(i); got != want {
			t.Errorf("%s is %q after reopening, want %q", name(i), got, want)
		}
	}
}
