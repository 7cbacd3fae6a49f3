package power

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/asset"
)

// rack is a fake PDU: outlets that take a while to move, and a record of what
// was asked of it.
type rack struct {
	mu     sync.Mutex // guards the rest
	state  map[string]State
	delay  time.Duration
	stuck  map[string]bool
	doubt  error         // what every command is answered with
	deaf   int           // how many questions go unanswered
	think  time.Duration // how long each answer takes
	record []string
}

func (r *rack) Outlets(context.Context, string) (Outlets, error) { return r, nil }

func (r *rack) Get(_ context.Context, outlet string) (State, error) {
	time.Sleep(r.think)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deaf > 0 {
		r.deaf--
		return Unknown, errors.New("no reply")
	}
	s, ok := r.state[outlet]
	if !ok {
		s = Absent
	}
	r.record = append(r.record, fmt.Sprintf("get %s %s", outlet, s))
	return s, nil
}

func (r *rack) Set(_ context.Context, outlet string, on bool, _ string) error {
	time.Sleep(r.think)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record = append(r.record, fmt.Sprintf("set %s %v", outlet, on))
	if r.stuck[outlet] {
		return r.doubt
	}
	time.AfterFunc(r.delay, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.state[outlet] = Off
		if on {
			r.state[outlet] = On
		}
	})
	return r.doubt
}

// vague is a driver's error.
type vague struct{ unknown, retry bool }

func (v vague) Error() string      { return "the outlet blinks" }
func (v vague) StateUnknown() bool { return v.unknown }
func (v vague) CanRetry() bool     { return v.retry }

func testMachine(outlets ...string) *asset.Machine {
	m := &asset.Machine{ID: "m1"}
	for _, o := range outlets {
		m.Power = append(m.Power, asset.Feed{PDU: "p", Outlet: o})
	}
	return m
}

func quiet(string) {}

func TestRestartOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{state: map[string]State{"1": On}, delay: 700 * time.Millisecond}
		a := New(r, DefaultLimits(), slog.New(slog.DiscardHandler))
		if err := a.Restart(t.Context(), testMachine("1"), "op", quiet); err != nil {
			t.Fatal(err)
		}
		want := []string{"get 1 on", "set 1 false", "get 1 on", "get 1 on", "get 1 off",
			"get 1 off", "set 1 true", "get 1 off", "get 1 off", "get 1 on"}
		if d := cmp.Diff(want, r.record); d != "" {
			t.Error(d)
		}
	})
}

func TestBothFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{state: map[string]State{"1": On, "2": On}}
		a := New(r, DefaultLimits(), slog.New(slog.DiscardHandler))
		if err := a.Off(t.Context(), testMachine("1", "2"), "op", quiet); err != nil {
			t.Fatal(err)
		}
		if r.state["1"] != Off || r.state["2"] != Off {
			t.Errorf("after Off: %v", r.state)
		}
	})
}

func TestUnknownTouchesNothing(t *testing.T) {
	for _, s := range []State{Unknown, Absent, "7"} {
		synctest.Test(t, func(t *testing.T) {
			r := &rack{state: map[string]State{"1": On, "2": s}}
			a := New(r, DefaultLimits(), slog.New(slog.DiscardHandler))
			err := a.Restart(t.Context(), testMachine("1", "2"), "op", quiet)
			var pe *Error
			if !errors.As(err, &pe) || !pe.Unknown || pe.Feed.Outlet != "2" {
				t.Errorf("outlet read as %q: %v, want an Error that says unknown", s, err)
			}
			if d := cmp.Diff([]string{"get 1 on", "get 2 " + string(s)}, r.record); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOutletThatNeverMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{state: map[string]State{"1": On}, stuck: map[string]bool{"1": true}}
		a := New(r, DefaultLimits(), slog.New(slog.DiscardHandler))
		began := time.Now()
		err := a.Restart(t.Context(), testMachine("1"), "op", quiet)
		var pe *Error
		if !errors.As(err, &pe) || pe.State != On || pe.Unknown {
			t.Errorf("got %v, want an Error that says the outlet is still on", err)
		}
		if took := time.Since(began); took != DefaultLimits().Settle {
			t.Errorf("gave up after %s, want %s", took, DefaultLimits().Settle)
		}
	})
}

func TestLostRepliesWhilePolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rack{state: map[string]State{"1": On}}
		a := New(r, DefaultLimits(), slog.New(slog.DiscardHandler))
		r.delay = time.Second
		time.AfterFunc(100*time.Millisecond, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.deaf = 3
		})
		if err := a.Off(t.Context(), testMachine("1"), "op", quiet); err != nil {
			t.Errorf("three lost replies while polling: %v", err)
		}
	})
}

func TestNoOutlet(t *testing.T) {
	a := New(&rack{}, DefaultLimits(), slog.New(slog.DiscardHandler))
	if err := a.On(t.Context(), testMachine(), "op", quiet); !errors.Is(err, ErrNoOutlet) {
		t.Errorf("got %v, want ErrNoOutlet", err)
	}
}

// TestAmbiguousAnswer: a driver that cannot say whether an outlet was switched
// leaves it to what the outlet is read as; one that says it was not is believed.
func TestAmbiguousAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		doubt vague
		stuck bool
		want  string // of the error
		retry bool
		took  time.Duration
	}{
		"it was switched":           {vague{unknown: true}, false, "", false, 4 * time.Second},
		"it was not":                {vague{unknown: true}, true, "told to go off", false, DefaultLimits().Settle},
		"it was not, and may yet":   {vague{unknown: true, retry: true}, true, "the outlet blinks", true, DefaultLimits().Settle},
		"it is known that it isn't": {vague{retry: true}, true, "switching it off", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rack{state: map[string]State{"1": On}, delay: 700 * time.Millisecond, doubt: c.doubt, stuck: map[string]bool{"1": c.stuck}}
				began := time.Now()
				err := New(r, DefaultLimits(), slog.New(slog.DiscardHandler)).Restart(t.Context(), testMachine("1"), "op", quiet)
				var pe *Error
				if errors.As(err, &pe) != (c.want != "") || c.want != "" && (!strings.Contains(err.Error(), c.want) || pe.Retry != c.retry) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestSlowFeeds: two feeds that take nearly all of the time that they have do
// not take it twice, and a restart ends within the time that is set aside for it.
func TestSlowFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limits{Call: 10 * time.Second, Settle: 5 * time.Minute, Poll: time.Second, OffFor: time.Minute}
		r := &rack{state: map[string]State{"1": On, "2": On}, delay: l.Settle - time.Second, think: l.Call - time.Second}
		began := time.Now()
		if err := New(r, l, slog.New(slog.DiscardHandler)).Restart(t.Context(), testMachine("1", "2"), "op", quiet); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > l.Restart(2) || took < 2*l.Settle {
			t.Errorf("it took %s, and %s are set aside", took, l.Restart(2))
		}
	})
}
