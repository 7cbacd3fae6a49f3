package host

import (
	"context"
	"sync"

	"github.com/gantry-pod/gantry/plugins/device"
)

const (
	// maxWaiting bounds the calls that queue for one device.
	maxWaiting = 256
	// maxDevices is from how many devices on idle ones are forgotten.
	maxDevices = 16384
)

// deviceTable keeps what the host knows of each device: who is calling it, and
// the newest generation that changed each of its outlets.
type deviceTable struct {
	parallel int

	mu      sync.Mutex // guards devices and each device's waiting and newest
	devices map[deviceKey]*deviceSlot
}

type deviceKey struct{ driver, address string }

type deviceSlot struct {
	calls   chan struct{} // a token for each call in flight
	change  chan struct{} // the token of the one change in flight
	waiting int           // calls in flight or queued
	newest  map[string]uint64
}

func newDeviceTable(parallel int) *deviceTable {
	return &deviceTable{parallel: parallel, devices: map[deviceKey]*deviceSlot{}}
}

// enter queues for the device; leave must be called when the call has ended.
func (t *deviceTable) enter(ctx context.Context, key deviceKey, change bool) (slot *deviceSlot, leave func(), err error) {
	if slot, err = t.join(key); err != nil {
		return nil, nil, err
	}
	if change {
		if err := take(ctx, slot.change, key); err != nil {
			t.quit(slot)
			return nil, nil, err
		}
	}
	if err := take(ctx, slot.calls, key); err != nil {
		if change {
			<-slot.change
		}
		t.quit(slot)
		return nil, nil, err
	}
	return slot, func() {
		<-slot.calls
		if change {
			<-slot.change
		}
		t.quit(slot)
	}, nil
}

func take(ctx context.Context, tokens chan struct{}, key deviceKey) error {
	select {
	case tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return device.Errorf(device.Busy, "device %s: other calls hold it: %w", key.address, ctx.Err())
	}
}

func (t *deviceTable) join(key deviceKey) (*deviceSlot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.devices[key]
	if slot == nil {
		t.shrink()
		slot = &deviceSlot{calls: make(chan struct{}, t.parallel), change: make(chan struct{}, 1), newest: map[string]uint64{}}
		t.devices[key] = slot
	}
	if slot.waiting >= maxWaiting {
		return nil, device.Errorf(device.Busy, "device %s: %d calls are queued already", key.address, slot.waiting)
	}
	slot.waiting++
	return slot, nil
}

func (t *deviceTable) quit(slot *deviceSlot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot.waiting--
}

func (t *deviceTable) shrink() {
	if len(t.devices) < maxDevices {
		return
	}
	for key, slot := range t.devices {
		if slot.waiting == 0 {
			delete(t.devices, key)
		}
	}
}

// fence refuses a change of an older generation than the outlet has seen. The
// driver does too, but it forgets when it is restarted. A dry run raises
// nothing.
func (t *deviceTable) fence(slot *deviceSlot, address string, c device.Change) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	newest := slot.newest[c.Outlet]
	if c.Generation < newest {
		return device.Errorf(device.StaleGeneration, "outlet %s of %s: generation %d spoke already, this is %d", c.Outlet, address, newest, c.Generation)
	}
	if !c.DryRun {
		slot.newest[c.Outlet] = c.Generation
	}
	return nil
}
