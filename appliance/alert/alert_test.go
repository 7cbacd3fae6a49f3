package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// sink is somebody who is told, and refuses as often as refuse says.
type sink struct {
	name   string
	refuse int
	got    []string
	at     []time.Time
}

func (s *sink) Name() string { return s.name }

func (s *sink) Send(_ context.Context, a Alert) error {
	if s.refuse > 0 {
		s.refuse--
		return errors.New("nobody there")
	}
	s.got, s.at = append(s.got, a.Code), append(s.at, time.Now())
	return nil
}

// bench is a desk on a real store in a synctest bubble.
type bench struct {
	*Desk
	t   *testing.T
	dir string
	end func()
}

func bubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, dir: t.TempDir()}
		test(t, b)
		b.close()
	})
}

// open opens the desk as a new process would and delivers until close.
func (b *bench) open(sinks ...Sink) {
	b.t.Helper()
	e, err := pebblekv.Open(filepath.Join(b.dir, "store"), pebblekv.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	tables := NewTables()
	db, err := store.Open(b.t.Context(), e, slog.New(slog.DiscardHandler), tables.Schemas()...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Desk = NewDesk(db, tables, sinks, slog.New(slog.DiscardHandler), time.Now)
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	b.end = func() {
		stop()
		if err := errors.Join(<-done, db.Close()); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bench) close() {
	if b.end != nil {
		b.end()
	}
	b.end = nil
}

// pass lets time pass and what it brings about end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) raise(code, subject string) {
	b.t.Helper()
	if err := b.Raise(b.t.Context(), Alert{Code: code, Subject: subject, Detail: "d", Action: "a", Request: "r"}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) list(all bool) []Alert {
	b.t.Helper()
	list, err := b.List(b.t.Context(), all)
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// TestSameTroubleIsOneAlert: a trouble that repeats is one alert that counts,
// until somebody dealt with it; another subject's is another.
func TestSameTroubleIsOneAlert(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.open()
		first := time.Now()
		for range 3 {
			b.raise("outlet", "machine/m1")
			time.Sleep(time.Second)
		}
		b.raise("outlet", "machine/m2")
		list := b.list(false)
		if len(list) != 2 || list[0].Count != 3 || list[1].Count != 1 {
			t.Fatalf("%+v", list)
		}
		if a := list[0]; !a.First.Equal(first) || !a.Last.Equal(first.Add(2*time.Second)) {
			t.Errorf("from %v to %v", a.First, a.Last)
		}
		a, err := b.Resolve(t.Context(), list[0].ID, "ann")
		if err != nil || a.By != "ann" || a.Resolved.IsZero() {
			t.Errorf("resolved: %+v, %v", a, err)
		}
		if again, err := b.Resolve(t.Context(), a.ID, "bob"); err != nil || again.By != "ann" {
			t.Errorf("resolved twice: %+v, %v", again, err)
		}
		if _, err := b.Resolve(t.Context(), "nowhere", "ann"); !errors.Is(err, ErrNotFound) {
			t.Errorf("resolved what is not: %v", err)
		}
		b.raise("outlet", "machine/m1")
		if open, all := b.list(false), b.list(true); len(open) != 2 || len(all) != 3 || open[1].Count != 1 {
			t.Errorf("open %+v, all %d", open, len(all))
		}
	})
}

// TestToldOnceAnHour: everybody is told once, and again when the trouble goes on
// for more than an hour, however often it is raised.
func TestToldOnceAnHour(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		one, two := &sink{name: "one"}, &sink{name: "two"}
		b.open(one, two)
		for range 25 { // two hours
			b.raise("outlet", "machine/m1")
			pass(5 * time.Minute)
		}
		for _, s := range []*sink{one, two} {
			if len(s.got) != 2 {
				t.Errorf("%s was told %d times: %v", s.name, len(s.got), s.at)
			}
		}
		if a := b.list(false)[0]; a.Count != 25 || len(a.Pending) != 0 {
			t.Errorf("%+v", a)
		}
	})
}

// TestDeliveryIsRepeated: a sink that refuses is asked again, later and later,
// and the others do not wait for it or hear twice.
func TestDeliveryIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		good, flaky := &sink{name: "good"}, &sink{name: "flaky", refuse: 3}
		b.open(good, flaky)
		began := time.Now()
		b.raise("outlet", "machine/m1")
		synctest.Wait()
		p := b.list(false)[0].Pending
		if len(p) != 1 || p[0].Sink != "flaky" || p[0].Tries != 1 || p[0].Error != "nobody there" || !p[0].Next.Equal(began.Add(10*time.Second)) {
			t.Errorf("pending: %+v", p)
		}
		pass(time.Hour)
		if len(good.got) != 1 || len(flaky.got) != 1 {
			t.Fatalf("good was told %d times, flaky %d", len(good.got), len(flaky.got))
		}
		if d := flaky.at[0].Sub(began); d < 70*time.Second || d > 71*time.Second { // 10 + 20 + 40
			t.Errorf("delivered after %v", d)
		}
	})
}

// TestResolvedIsNotDelivered: nobody is called for what is dealt with.
func TestResolvedIsNotDelivered(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		s := &sink{name: "s", refuse: 1}
		b.open(s)
		b.raise("outlet", "machine/m1")
		synctest.Wait()
		if _, err := b.Resolve(t.Context(), b.list(false)[0].ID, "ann"); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Hour)
		if len(s.got) != 0 || s.refuse != 0 {
			t.Errorf("delivered %v, %d refusals left", s.got, s.refuse)
		}
	})
}

// TestRestartKeepsPending: what was not delivered when the appliance stopped is
// delivered by the next one; a sink that is no longer configured is forgotten.
func TestRestartKeepsPending(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.open(&sink{name: "kept", refuse: 1}, &sink{name: "gone", refuse: 1})
		b.raise("outlet", "machine/m1")
		b.raise("wipe", "machine/m2")
		b.close()
		kept := &sink{name: "kept"}
		b.open(kept)
		pass(time.Hour)
		slices.Sort(kept.got)
		if d := cmp.Diff([]string{"outlet", "wipe"}, kept.got); d != "" {
			t.Error(d)
		}
		for _, a := range b.list(false) {
			if len(a.Pending) != 0 {
				t.Errorf("%s is still pending: %+v", a.Code, a.Pending)
			}
		}
	})
}

// stuck is a sink whose other end takes the connection and says nothing.
type stuck struct{}

func (stuck) Name() string { return "stuck" }

func (stuck) Send(ctx context.Context, _ Alert) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestStuckSinkHoldsUpNobody: while one sink hangs the other is told at once.
func TestStuckSinkHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		good := &sink{name: "good"}
		b.open(stuck{}, good)
		began := time.Now()
		for i := range 100 {
			b.raise("outlet", fmt.Sprint("machine/m", i))
		}
		pass(time.Second)
		if len(good.got) != 100 {
			t.Errorf("%d of 100 were delivered in %v", len(good.got), time.Since(began))
		}
	})
}

// TestPost: what is posted is recorded by Run, the same trouble once a minute
// and everybody else's besides, and a flood neither blocks nor grows.
func TestPost(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.open()
		for range 1000 {
			b.Post(Alert{Code: "agent-refused", Subject: "machine/m1"})
			b.Post(Alert{Code: "agent-refused", Subject: "machine/m2"})
		}
		synctest.Wait()
		if list := b.list(false); len(list) != 2 || list[0].Count != 1 || list[1].Count != 1 {
			t.Errorf("%+v", list)
		}
		pass(postAgain)
		b.Post(Alert{Code: "agent-refused", Subject: "machine/m1"})
		synctest.Wait()
		if list := b.list(false); len(list) != 2 || list[0].Count != 2 {
			t.Errorf("a minute later: %+v", list)
		}
		for i := range 3 * postKnown {
			b.Post(Alert{Code: "flood", Subject: fmt.Sprint(i)})
		}
		if len(b.posted) > postKnown || len(b.queue) > postQueue {
			t.Errorf("%d remembered, %d wait", len(b.posted), len(b.queue))
		}
		synctest.Wait()
	})
}

func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 9: 2560 * time.Second, 10: time.Hour, 1 << 40: time.Hour} {
		if got := backoff(n); got != want {
			t.Errorf("after %d tries: %v, want %v", n, got, want)
		}
	}
}
