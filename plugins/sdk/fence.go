package sdk

import (
	"context"
	"sync"

	"github.com/gantry-pod/gantry/plugins/device"
)

const (
	kindCycle = "cycle"
	// maxRemembered bounds the operations and outlets that a driver remembers.
	// An appliance has a few changes in flight per device; the oldest are
	// forgotten first.
	maxRemembered = 8192
)

// fence keeps the promises that every change carries: a caller with an older
// generation is refused, one operation ID is one operation, and an outlet has
// one change at a time. It forgets with the process: the host, which outlives
// drivers, fences too.
type fence struct {
	mu      sync.Mutex // guards all below
	outlets map[outletKey]*outletFence
	ops     map[opKey]*operation
	order   []opKey // of ops, oldest first
}

type outletKey struct{ device, outlet string }

type opKey struct{ device, id string }

type outletFence struct {
	generation uint64
	busy       chan struct{} // holds one token while a change runs
	users      int           // changes running or waiting; guarded by fence.mu
}

type operation struct {
	kind, outlet string
	cycled       *device.Result // set once a cycle has been done
}

func newFence() *fence {
	return &fence{outlets: map[outletKey]*outletFence{}, ops: map[opKey]*operation{}}
}

// enter waits for the outlet's turn. It returns what to call when the change
// has ended, or the result of this very operation done earlier.
func (f *fence) enter(ctx context.Context, address, kind string, c device.Change) (done func(device.Result, error), earlier *device.Result, err error) {
	out, err := f.claim(address, c)
	if err != nil {
		return nil, nil, err
	}
	select {
	case out.busy <- struct{}{}:
	case <-ctx.Done():
		f.leave(out)
		return nil, nil, device.Errorf(device.Busy, "outlet %s of %s: another change holds it: %w", c.Outlet, address, ctx.Err())
	}
	release := func() { <-out.busy; f.leave(out) }
	op, err := f.begin(address, kind, c, out)
	if err != nil || (op != nil && op.cycled != nil) {
		release()
		if err != nil {
			return nil, nil, err
		}
		return nil, &device.Result{Before: op.cycled.After, After: op.cycled.After, Outcome: device.OutcomeAlready}, nil
	}
	return func(r device.Result, err error) {
		if kind == kindCycle && op != nil && err == nil {
			f.mu.Lock()
			op.cycled = &r
			f.mu.Unlock()
		}
		release()
	}, nil, nil
}

// claim finds the outlet's fence and raises its generation, unless nothing is
// to be changed.
func (f *fence) claim(address string, c device.Change) (*outletFence, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := outletKey{address, c.Outlet}
	out := f.outlets[key]
	if out == nil {
		f.shrinkOutlets()
		out = &outletFence{busy: make(chan struct{}, 1)}
		f.outlets[key] = out
	}
	if err := out.check(address, c); err != nil {
		return nil, err
	}
	if !c.DryRun {
		out.generation = c.Generation
	}
	out.users++
	return out, nil
}

func (o *outletFence) check(address string, c device.Change) error {
	if c.Generation < o.generation {
		return device.Errorf(device.StaleGeneration, "outlet %s of %s: generation %d spoke already, this is %d", c.Outlet, address, o.generation, c.Generation)
	}
	return nil
}

// begin records the operation once the outlet is ours. A generation that came
// while this one waited wins. A dry run is no operation: nothing is recorded.
func (f *fence) begin(address, kind string, c device.Change, out *outletFence) (*operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := out.check(address, c); err != nil {
		return nil, err
	}
	key := opKey{address, c.OperationID}
	if op := f.ops[key]; op != nil {
		if op.kind != kind || op.outlet != c.Outlet {
			return nil, device.Errorf(device.Conflict, "operation %s: it was %s of outlet %s before, now %s of outlet %s", c.OperationID, op.kind, op.outlet, kind, c.Outlet)
		}
		return op, nil
	}
	if c.DryRun {
		return nil, nil
	}
	op := &operation{kind: kind, outlet: c.Outlet}
	f.ops[key] = op
	f.order = append(f.order, key)
	if len(f.order) > maxRemembered {
		delete(f.ops, f.order[0])
		f.order = f.order[1:]
	}
	return op, nil
}

func (f *fence) leave(out *outletFence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.users--
}

// shrinkOutlets forgets idle outlets once there are too many.
func (f *fence) shrinkOutlets() {
	if len(f.outlets) < maxRemembered {
		return
	}
	for key, out := range f.outlets {
		if out.users == 0 {
			delete(f.outlets, key)
		}
	}
}
