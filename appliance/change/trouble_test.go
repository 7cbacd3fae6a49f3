package change

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// inBubble runs a test with a bench in a synctest bubble: hours pass at once.
func inBubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
}

// wantAlerts checks what people were told.
func (b *bench) wantAlerts(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.alerts, want) {
		b.t.Errorf("alerts: %v, want %v", b.alerts, want)
	}
}

func breaks(m *asset.Machine, end Status, p *Problem, now time.Time) error {
	if end == Done {
		return nil
	}
	return m.Apply(machine.Event{Kind: machine.Break, Reason: p.Detail}, now)
}

// hold is a step that goes on until it is stopped.
func hold(ctx context.Context, _ *Run) error { <-ctx.Done(); return ctx.Err() }

// TestBrokenCallsAPerson: whatever leaves a machine broken raises an alert that
// says what to do; and so does a deadline, for nobody knows what was left behind.
func TestBrokenCallsAPerson(t *testing.T) {
	fails := func(err error) func(context.Context, *Run) error {
		return func(context.Context, *Run) error { return err }
	}
	for name, c := range map[string]struct {
		run    func(context.Context, *Run) error
		cancel bool
		code   string
		sound  []string // the alerts if the machine is not broken by it
	}{
		"a problem of the agent's": {fails(&Problem{Code: "disk-not-found", Detail: "d"}), false, "disk-not-found", nil},
		"an agent that panics":     {fails(&Problem{Code: "internal", Detail: "panic"}), false, "internal", nil},
		"an error of ours":         {fails(errors.New("oops")), false, "internal", []string{"internal"}},
		"a deadline":               {hold, false, "deadline", []string{"deadline"}},
		"a cancellation":           {hold, true, "cancelled", nil},
	} {
		for broken, alerts := range map[bool][]string{true: {c.code}, false: c.sound} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, b *bench) {
					plan := Plan{Steps: []StepPlan{b.note("one", c.run)}}
					if broken {
						plan.Settle = breaks
					}
					r := b.runner(map[Kind]Plan{Inspect: plan})
					defer r.Close()
					q := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"})
					if c.cancel {
						synctest.Wait()
						if _, err := r.Cancel(t.Context(), q.ID); err != nil {
							t.Fatal(err)
						}
					}
					q = b.await(q.ID)
					b.wantAlerts(alerts...)
					if q.Error == nil || q.Error.Code != c.code || q.Error.Person != (len(alerts) > 0) || q.Error.Person && q.Error.Action == "" {
						t.Errorf("broken %v: ended with %+v", broken, q.Error)
					}
				})
			})
		}
	}
}

// TestAlertAndEndAreOne: no request ends whose alert is not recorded, so that a
// crash between the two loses neither.
func TestAlertAndEndAreOne(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.noDesk = errors.New("no")
		plans := map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", func(context.Context, *Run) error { return &Problem{Code: "c", Detail: "d"} })}, Settle: breaks}}
		r := b.runner(plans)
		id := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID
		synctest.Wait()
		q, err := b.book.Get(t.Context(), id)
		if err != nil || q.Status.Ended() || b.lock() != id {
			t.Errorf("without an alert it is %s, lock %q, %v", q.Status, b.lock(), err)
		}
		b.crash(r)
		b.noDesk, b.alerts = nil, nil
		r = b.runner(plans)
		defer r.Close()
		if err := r.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q := b.await(id); q.Status != Failed || b.lock() != "" {
			t.Errorf("ended as %s, lock %q", q.Status, b.lock())
		}
		b.wantAlerts("c")
		b.want("one")
	})
}

// TestEndRefused: a request whose end the lifecycle refuses does not keep its
// machine in silence.
func TestEndRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", nil)},
			Settle: func(m *asset.Machine, _ Status, _ *Problem, now time.Time) error {
				return m.Apply(machine.Event{Kind: machine.Activate}, now)
			}}})
		defer r.Close()
		id := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID
		synctest.Wait()
		if b.lock() != id {
			t.Errorf("lock %q, want %s", b.lock(), id)
		}
		b.wantAlerts("request-stuck")
	})
}

// TestCancelledBeforeItBegan: a cancellation that overtakes the request's begin
// ends it all the same.
func TestCancelledBeforeItBegan(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", nil)}}})
		defer r.Close()
		q, err := b.book.Accept(t.Context(), Ask{Kind: Inspect, Machine: "m1", By: "t"}, admitAll)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Cancel(t.Context(), q.ID); err != nil {
			t.Fatal(err)
		}
		r.carryOut(cancelledContext(t.Context()), q)
		if q, err = b.book.Get(t.Context(), q.ID); err != nil || q.Status != Cancelled || b.lock() != "" {
			t.Errorf("it is %s, lock %q, %v", q.Status, b.lock(), err)
		}
		b.want()
	})
}

// TestCancelledWhileAway: a step that was running when the appliance stopped, of
// a request that was cancelled since, ends with it.
func TestCancelledWhileAway(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		plans := map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("wait", hold)}}}
		r := b.runner(plans)
		q := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"})
		synctest.Wait()
		b.crash(r)
		r = b.runner(plans)
		defer r.Close()
		if _, err := r.Cancel(t.Context(), q.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		q = b.await(q.ID)
		if s := q.Steps[0]; q.Status != Cancelled || s.Status != Failed || s.Ended.IsZero() || s.Error == nil || s.Error.Code != "cancelled" {
			t.Errorf("ended as %s, step %+v", q.Status, s)
		}
		b.want("wait")
	})
}

// TestNobodyCancelled: a machine that calls its work cancelled has failed.
func TestNobodyCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", func(context.Context, *Run) error {
			return &Problem{Code: "cancelled", Detail: "told to"}
		})}}})
		defer r.Close()
		if q := b.await(b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID); q.Status != Failed {
			t.Errorf("ended as %s", q.Status)
		}
	})
}
