package sdk

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

func reason(err error) device.Reason {
	if e, ok := errors.AsType[*device.Error](err); ok {
		return e.Reason
	}
	return device.Unspecified
}

// TestFence lets callers in and out in the order of the rows.
func TestFence(t *testing.T) {
	f := newFence()
	tests := []struct {
		name, kind string
		change     device.Change
		want       device.Reason // Unspecified is entry
	}{
		{"first", "on", device.Change{Outlet: "1", OperationID: "a", Generation: 5}, device.Unspecified},
		{"same again", "on", device.Change{Outlet: "1", OperationID: "a", Generation: 5}, device.Unspecified},
		{"older", "on", device.Change{Outlet: "1", OperationID: "b", Generation: 4}, device.StaleGeneration},
		{"older, another outlet", "on", device.Change{Outlet: "2", OperationID: "c", Generation: 4}, device.Unspecified},
		{"same operation, another kind", "off", device.Change{Outlet: "1", OperationID: "a", Generation: 5}, device.Conflict},
		{"same operation, another outlet", "on", device.Change{Outlet: "2", OperationID: "a", Generation: 5}, device.Conflict},
		{"newer dry run", "on", device.Change{Outlet: "1", OperationID: "d", Generation: 9, DryRun: true}, device.Unspecified},
		{"a dry run raised nothing", "on", device.Change{Outlet: "1", OperationID: "e", Generation: 6}, device.Unspecified},
	}
	for _, tt := range tests {
		done, _, err := f.enter(t.Context(), "pdu", tt.kind, tt.change)
		if got := reason(err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil {
			done(device.Result{}, nil)
		}
	}
}

// TestFenceWaits has an outlet's second change wait for the first, and lose to
// a newer generation that came while it waited.
func TestFenceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence()
		change := func(id string, generation uint64) device.Change {
			return device.Change{Outlet: "1", OperationID: id, Generation: generation}
		}
		done, _, err := f.enter(t.Context(), "pdu", "on", change("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() {
			_, _, err := f.enter(t.Context(), "pdu", "off", change("b", 1))
			waited <- err
		}()
		synctest.Wait()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := f.enter(hasty, "pdu", "off", change("c", 2)); reason(err) != device.Busy {
			t.Errorf("a change past its deadline: %v, want busy", err)
		}
		done(device.Result{}, nil)
		if err := <-waited; reason(err) != device.StaleGeneration {
			t.Errorf("the change that waited: %v, want stale generation", err)
		}
	})
}

// TestFenceCycle has one operation ID cycle once, and again only after it
// failed.
func TestFenceCycle(t *testing.T) {
	f := newFence()
	c := device.Change{Outlet: "1", OperationID: "a"}
	done, earlier, err := f.enter(t.Context(), "pdu", kindCycle, c)
	if err != nil || earlier != nil {
		t.Fatalf("first: %v, %v", earlier, err)
	}
	done(device.Result{}, errors.New("no answer"))
	done, earlier, err = f.enter(t.Context(), "pdu", kindCycle, c)
	if err != nil || earlier != nil {
		t.Fatalf("after a failure: %v, %v", earlier, err)
	}
	done(device.Result{After: device.StateOn, Outcome: device.OutcomePending}, nil)
	_, earlier, err = f.enter(t.Context(), "pdu", kindCycle, c)
	if err != nil || earlier == nil || earlier.Outcome != device.OutcomeAlready {
		t.Errorf("repeated: %+v, %v, want already", earlier, err)
	}
}

// TestFenceForgets keeps its memory bounded.
func TestFenceForgets(t *testing.T) {
	f := newFence()
	for i := range 3 * maxRemembered {
		id := string(rune(i + 256))
		done, _, err := f.enter(t.Context(), "pdu", "on", device.Change{Outlet: id, OperationID: id})
		if err != nil {
			t.Fatal(err)
		}
		done(device.Result{}, nil)
	}
	if len(f.ops) > maxRemembered || len(f.order) > maxRemembered || len(f.outlets) > maxRemembered {
		t.Errorf("%d operations, %d outlets are remembered, want %d at most", len(f.ops), len(f.outlets), maxRemembered)
	}
}

// TestCheck refuses drivers that cannot be served.
func TestCheck(t *testing.T) {
	if err := (Driver{Name: "x", ConfigSchema: []byte("{")}).Check(); err == nil {
		t.Error("an empty driver can be served")
	}
}
