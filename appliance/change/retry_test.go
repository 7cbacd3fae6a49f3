package change

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store"
)

// failing is a plan whose second step fails until it is mended, and its request
// after it has failed for good.
func (b *bench) failing(t *testing.T) (r *Runner, q Request, mend func()) {
	t.Helper()
	mended := false
	two := b.note("two", func(context.Context, *Run) error {
		if mended {
			return nil
		}
		return &Problem{Code: "outlet", Detail: "d", Retry: true}
	})
	two.Attempts = 2
	r = b.runner(map[Kind]Plan{Release: {Steps: []StepPlan{b.note("one", nil), two, b.note("three", nil)}, Undo: []StepPlan{b.note("undo", nil)}, Settle: breaks}})
	t.Cleanup(r.Close)
	q = b.await(b.submit(r, Ask{Kind: Release, Machine: "m1", By: "t", Key: "k"}).ID)
	synctest.Wait()
	return r, q, func() { mended = true }
}

// TestRetryGoesOn: a failed request goes on at the step that failed, as often as
// it is asked to; what was done stays done, and what undoes it is done again.
func TestRetryGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r, q, mend := b.failing(t)
		b.want("one", "two", "two", "undo")
		again, err := r.Retry(t.Context(), q.ID, admitAll)
		if err != nil || again.ID != q.ID || b.lock() != q.ID {
			t.Fatalf("%s, lock %q, %v", again.ID, b.lock(), err)
		}
		if end := b.await(q.ID); end.Status != Failed || end.Error == nil || end.Steps[1].Attempt != 4 || !end.Ended.After(q.Ended) || end.Began != q.Began {
			t.Errorf("the second time: %+v", end)
		}
		b.want("one", "two", "two", "undo", "two", "two", "undo")
		mend()
		if _, err := r.Retry(t.Context(), q.ID, admitAll); err != nil {
			t.Fatal(err)
		}
		end := b.await(q.ID)
		if end.Status != Done || end.Error != nil || end.Steps[1].Attempt != 5 || end.Steps[1].Error != nil || b.lock() != "" {
			t.Errorf("mended: %+v, lock %q", end, b.lock())
		}
		b.want("one", "two", "two", "undo", "two", "two", "undo", "two", "three")
		b.wantAlerts("outlet", "outlet")
	})
}

// TestRetryRefused: a request goes on only on the machine that it failed on, as
// it left it.
func TestRetryRefused(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		before func(t *testing.T, b *bench, r *Runner, q *Request)
		admit  Admit
		want   error
	}{
		"machine refuses": {func(*testing.T, *bench, *Runner, *Request) {}, func(*asset.Machine) error { return no }, no},
		"another since": {func(t *testing.T, b *bench, r *Runner, _ *Request) {
			b.await(b.submit(r, Ask{Kind: Release, Machine: "m1", By: "t"}).ID)
		}, admitAll, ErrAnew},
		"another machine of that name": {func(t *testing.T, b *bench, _ *Runner, _ *Request) {
			b.set(func(m *asset.Machine) { m.Created = time.Now().Add(time.Second) })
		}, admitAll, ErrAnew},
		"called off": {func(t *testing.T, b *bench, _ *Runner, q *Request) {
			b.put(q, func(q *Request) { q.Cancelling = true })
		}, admitAll, ErrAnew},
		"done": {func(t *testing.T, b *bench, _ *Runner, q *Request) {
			b.put(q, func(q *Request) { q.Status = Done })
		}, admitAll, ErrAnew},
		"no such request": {func(_ *testing.T, _ *bench, _ *Runner, q *Request) { q.ID = "r9" }, admitAll, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				r, q, _ := b.failing(t)
				id := q.ID
				c.before(t, b, r, &q)
				b.mu.Lock()
				ran := len(b.ran)
				b.mu.Unlock()
				if _, err := r.Retry(t.Context(), q.ID, c.admit); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				synctest.Wait()
				if q, err := b.book.Get(t.Context(), id); err != nil || !q.Status.Ended() || b.lock() != "" || len(b.ran) != ran {
					t.Errorf("left it %s, lock %q, ran %v, %v", q.Status, b.lock(), b.ran[ran:], err)
				}
			})
		})
	}
}

// TestRetryAtOnce: a request that goes on before the goroutine that ended it has
// left is carried out by the next.
func TestRetryAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r, q, mend := b.failing(t)
		mend()
		r.cancels[q.ID] = func(error) {}
		if _, err := r.Retry(t.Context(), q.ID, admitAll); err != nil {
			t.Fatal(err)
		}
		next, again := r.left(q.ID)
		if !again {
			t.Fatal("forgotten")
		}
		r.start(next, false)
		if end := b.await(q.ID); end.Status != Done {
			t.Errorf("ended as %s", end.Status)
		}
	})
}

// TestRetrySurvives: a request that goes on is resumed by the next appliance.
func TestRetrySurvives(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r, q, mend := b.failing(t)
		r.Close()
		if _, err := r.Retry(t.Context(), q.ID, admitAll); err != nil {
			t.Fatal(err)
		}
		mend()
		next := b.runner(r.plans)
		defer next.Close()
		if err := next.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if end := b.await(q.ID); end.Status != Done {
			t.Errorf("ended as %s", end.Status)
		}
	})
}

func (b *bench) set(fn func(m *asset.Machine)) {
	b.t.Helper()
	if err := b.assets.Change(b.t.Context(), "m1", func(_ *store.Tx, m *asset.Machine) error { fn(m); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// put changes a request's record, ended or not.
func (b *bench) put(q *Request, fn func(q *Request)) {
	b.t.Helper()
	fn(q)
	if err := b.db.Update(b.t.Context(), func(tx *store.Tx) error { return b.book.t.requests.Put(tx, *q) }); err != nil {
		b.t.Fatal(err)
	}
}
