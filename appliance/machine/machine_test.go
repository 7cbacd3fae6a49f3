package machine

import (
	"errors"
	"math/rand"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestLife(t *testing.T) {
	steps := []struct {
		event Event
		want  State
	}{
		{Event{Kind: Inspect}, Inspecting},
		{Event{Kind: Inspected, Accepted: false}, Discovered},
		{Event{Kind: Accept}, Available},
		{Event{Kind: Inspect}, Inspecting},
		{Event{Kind: Inspected, Accepted: true}, Available},
		{Event{Kind: Reserve}, Reserved},
		{Event{Kind: Image}, Imaging},
		{Event{Kind: Configure}, Configuring},
		{Event{Kind: Verify}, Verifying},
		{Event{Kind: Activate}, Active},
		{Event{Kind: EnterRescue}, Rescue},
		{Event{Kind: LeaveRescue}, Active},
		{Event{Kind: Release}, Releasing},
		{Event{Kind: Wiped}, Available},
		{Event{Kind: Maintain}, Maintenance},
		{Event{Kind: Restore}, Releasing},
		{Event{Kind: Wiped}, Available},
	}
	s := Status{State: Discovered, Since: t0}
	for i, step := range steps {
		next, err := Next(s, step.event, t0.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if next.State != step.want {
			t.Fatalf("step %d: %s after %s is %s, want %s", i, step.event.Kind, s.State, next.State, step.want)
		}
		s = next
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		state State
		event Kind
	}{
		{Active, Reserve},     // a machine in use cannot be taken
		{Broken, Reserve},     // nor a broken one
		{Releasing, Reserve},  // nor one that is not yet wiped
		{Releasing, Activate}, // and a wipe never ends in use
		{Available, Activate}, // nothing becomes active without being verified
		{Imaging, Activate},
		{Releasing, LeaveRescue},
		{Active, Inspect}, // an inspection would restart a customer's server
		{Active, Maintain},
		{Broken, Inspect}, // what is on its disks is not known: it is wiped first
		{Broken, Accept},
		{Discovered, Inspected},
	} {
		s := Status{State: c.state, Since: t0}
		next, err := Next(s, Event{Kind: c.event}, t0)
		var te *TransitionError
		if !errors.As(err, &te) {
			t.Errorf("%s in %s: got %v, want a TransitionError", c.event, c.state, err)
		}
		if next != s {
			t.Errorf("%s in %s: refused but changed to %v", c.event, c.state, next)
		}
	}
}

// TestRevert: an inspection that was called off leads back to where it began,
// and nothing else is taken back.
func TestRevert(t *testing.T) {
	began := map[State]bool{Discovered: true, Available: true, Broken: true}
	for _, from := range States() {
		for _, to := range States() {
			got, err := Next(Status{State: from, Since: t0}, Event{Kind: Revert, To: to, Reason: "r"}, t0.Add(time.Second))
			want := Status{State: from, Since: t0}
			if from == Inspecting && began[to] {
				want = Status{State: to, Since: t0.Add(time.Second), Reason: "r"}
			}
			if got != want || (err == nil) != (from == Inspecting && began[to]) {
				t.Errorf("%s reverted to %s: %v, %v", from, to, got, err)
			}
		}
	}
}

// TestOldDiskNeverRuns walks random lives: from the moment a machine is
// released until an image has been configured on it, nothing lets it boot its
// disk.
func TestOldDiskNeverRuns(t *testing.T) {
	kinds := []Kind{Inspect, Inspected, Accept, Reserve, Unreserve, Image, Configure, Verify, Activate, Release,
		Wiped, EnterRescue, LeaveRescue, Maintain, Restore, Revert, Break}
	rng := rand.New(rand.NewSource(1))
	for range 2000 {
		s, dirty := Status{State: Discovered, Since: t0}, false
		now := t0
		for range 60 {
			now = now.Add(time.Duration(rng.Intn(100)) * time.Second)
			e := Event{Kind: kinds[rng.Intn(len(kinds))], Accepted: rng.Intn(2) == 0, Reason: "r",
				To: States()[rng.Intn(len(States()))]}
			next, err := Next(s, e, now)
			if err != nil {
				continue
			}
			switch e.Kind {
			case Release, Break:
				dirty = true
			case Configure:
				dirty = false
			}
			if dirty && BootOf(next.State) == BootDisk {
				t.Fatalf("%s then %s lets a released disk run", s.State, e.Kind)
			}
			if next.State == Broken && next.Reason == "" {
				t.Fatalf("broken without a reason after %s in %s", e.Kind, s.State)
			}
			if s.State == Broken && next.State == Available {
				t.Fatalf("%s made a broken machine available without a wipe", e.Kind)
			}
			s = next
		}
	}
}
