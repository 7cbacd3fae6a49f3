package appliance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

// TestGeneration: changes are numbered upwards, also when the clock is set back
// or asked twice within its resolution.
func TestGeneration(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	d := &devices{now: func() time.Time { return now }}
	var last uint64
	for _, step := range []time.Duration{0, time.Second, -time.Hour, 0, time.Minute} {
		now = now.Add(step)
		g := d.generation()
		if g <= last {
			t.Errorf("at %s: %d after %d", now, g, last)
		}
		last = g
	}
	now = now.Add(24 * time.Hour)
	if g := d.generation(); g != uint64(now.UnixNano()) {
		t.Errorf("%d, want the clock's %d", g, now.UnixNano())
	}
}

// TestDriverErrors: package power is told what a driver's error says of itself.
func TestDriverErrors(t *testing.T) {
	ambiguous := device.Errorf(device.Ambiguous, "outlet 1 blinks")
	ambiguous.StateKnown = false
	for name, c := range map[string]struct {
		err            error
		retry, unknown bool
	}{
		"ambiguous":      {ambiguous, false, true},
		"no answer":      {context.DeadlineExceeded, true, true},
		"rejected":       {device.Errorf(device.Rejected, "no"), false, false},
		"driver resting": {device.Errorf(device.Unreachable, "driver rests"), true, false},
	} {
		err := retry(c.err)
		var says interface {
			CanRetry() bool
			StateUnknown() bool
		}
		if !errors.As(err, &says) || says.CanRetry() != c.retry || says.StateUnknown() != c.unknown {
			t.Errorf("%s: %#v", name, err)
		}
	}
}
