package change

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// fails is a step that fails as often as n says, each time after a while.
func (b *bench) fails(n int, after time.Duration) StepPlan {
	s := b.note("flaky", func(context.Context, *Run) error {
		time.Sleep(after)
		if n--; n < 0 {
			return nil
		}
		return &Problem{Code: "network", Detail: "d", Retry: true}
	})
	s.Attempts = 3
	return s
}

// TestRetry: a step that may be tried again is, after a pause if it failed at
// once, so that what rests for a minute is not given up on in a moment.
func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		fails       int
		after, took time.Duration
		end         Status
		attempts    int
	}{
		"comes back":    {2, 0, 65 * time.Second, Done, 3},
		"does not":      {99, 0, 65 * time.Second, Failed, 3},
		"takes a while": {2, 20 * time.Second, 60 * time.Second, Done, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.fails(c.fails, c.after)}}})
				defer r.Close()
				began := time.Now()
				q := b.await(b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID)
				if took := time.Since(began); q.Status != c.end || q.Steps[0].Attempt != c.attempts || took != c.took {
					t.Errorf("%s after %d attempts and %s", q.Status, q.Steps[0].Attempt, took)
				}
			})
		})
	}
}

// TestPauseEnds: neither a cancellation nor the appliance's end waits for the
// next attempt.
func TestPauseEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		plans := map[Kind]Plan{Inspect: {Steps: []StepPlan{b.fails(99, 0)}}}
		r := b.runner(plans)
		began := time.Now()
		id := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID
		synctest.Wait()
		b.crash(r)
		r = b.runner(plans)
		defer r.Close()
		if err := r.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := r.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if q := b.await(id); q.Status != Cancelled || q.Steps[0].Attempt != 2 {
			t.Errorf("ended as %s after %d attempts", q.Status, q.Steps[0].Attempt)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		slow := b.note("slow", hold)
		slow.Attempts = 2
		r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{slow}}})
		defer r.Close()
		began := time.Now()
		q := b.await(b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID)
		if took := time.Since(began); q.Status != Failed || q.Error.Code != "deadline" || took != 2*slow.Timeout {
			t.Errorf("ended as %s after %s with %+v", q.Status, took, q.Error)
		}
	})
}

// TestPhases: what a machine calls its phases is bounded in form and number,
// and what is not recorded is not written either.
func TestPhases(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		writes := 0
		changed, stop := b.book.Watch()
		defer stop()
		say := b.note("say", func(ctx context.Context, run *Run) error {
			for _, name := range []string{"write", "write", "Write", "a\nb", "\x1b[2J", "9", string(make([]byte, 4096)), "image/disk 2-a"} {
				if err := run.Phase(ctx, name); err != nil {
					return err
				}
			}
			for i := range 1000 {
				if err := run.Phase(ctx, []string{"tick", "tock"}[i%2]); err != nil {
					return err
				}
				select {
				case <-changed:
					writes++
				default:
				}
			}
			return nil
		})
		r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{say}}})
		defer r.Close()
		s := b.await(b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID).Steps[0]
		var names []string
		for _, p := range s.Phases {
			names = append(names, p.Name)
			if p.Ended.IsZero() {
				t.Errorf("phase %s has no end", p.Name)
			}
		}
		if len(names) != maxPhases || !slices.Equal(names[:4], []string{"write", "image/disk 2-a", "tick", "tock"}) || s.Status != Done {
			t.Errorf("%d phases, %q, step %s", len(names), names[:min(4, len(names))], s.Status)
		}
		if writes > maxPhases+5 {
			t.Errorf("%d writes for %d phases", writes, maxPhases)
		}
	})
}
