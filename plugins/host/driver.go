package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

// DriverState is where a driver is in its life.
type DriverState string

// The states of a driver. Calls wait for a driver that is starting or
// waiting, and fail at once on one that is broken, refused or stopped.
const (
	DriverStarting DriverState = "starting"
	DriverReady    DriverState = "ready"
	DriverWaiting  DriverState = "waiting" // failed, to be launched again
	DriverBroken   DriverState = "broken"  // failed too often, given up for a while
	DriverRefused  DriverState = "refused" // not the binary that was pinned
	DriverStopped  DriverState = "stopped"
)

// askAgain is between two looks at a driver whose connection broke.
const askAgain = 100 * time.Millisecond

// driver supervises one driver binary. Its process comes and goes; calls find
// the one that runs through await.
type driver struct {
	cfg  Config
	as   *syscall.Credential // whom it runs as; nil: as we do
	name string
	path string
	pin  []byte // what the binary must be; nil until first seen, if no list was given
	deny error  // set if it must never run
	log  *slog.Logger
	logs *logSink

	mu       sync.Mutex // guards all below
	state    DriverState
	live     *live // while ready
	info     device.Info
	lastErr  error
	pid      int
	launches int
	changed  chan struct{} // closed and replaced at every change of state
}

func newDriver(cfg Config, as *syscall.Credential, name, path string, list pins) *driver {
	log := cfg.Log.With("driver", name)
	d := &driver{cfg: cfg, as: as, name: name, path: path, log: log, logs: newLogSink(log, cfg.LogLines),
		state: DriverStarting, changed: make(chan struct{})}
	if list != nil {
		if d.pin = list[filepath.Base(path)]; d.pin == nil {
			d.deny = fmt.Errorf("%w: %s is not listed in %s", errNotPinned, path, pinFile)
		}
	} else {
		binary, sum, err := openPinned(path, nil)
		if err != nil {
			d.deny = err
		} else {
			d.pin = sum
			binary.Close()
		}
	}
	if d.deny != nil {
		d.state, d.lastErr = DriverRefused, d.deny
	}
	return d
}

// supervise launches the driver and launches it again until ctx ends.
func (d *driver) supervise(ctx context.Context) {
	defer d.enter(DriverStopped, nil)
	if d.deny != nil {
		d.log.Error("driver refused", "error", d.deny)
		<-ctx.Done()
		return
	}
	again := backoff{first: d.cfg.Backoff, most: d.cfg.MaxBackoff, breakAfter: d.cfg.BreakAfter, cooldown: d.cfg.Cooldown}
	for {
		begun := time.Now()
		err := d.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		wait, open := again.failed(time.Since(begun))
		state := DriverWaiting
		switch {
		case errors.Is(err, errNotPinned):
			state, wait = DriverRefused, d.cfg.Cooldown
		case open:
			state = DriverBroken
		}
		d.enter(state, err)
		d.log.Error("driver failed", "error", err, "state", string(state), "again_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// runOnce runs one process of the driver from launch to end, and returns why
// it ended.
func (d *driver) runOnce(ctx context.Context) error {
	d.enter(DriverStarting, nil)
	l, err := launch(ctx, d)
	if err != nil {
		return err
	}
	defer l.stop()
	d.ready(l)
	d.log.Info("driver ready", "version", l.info.Version, "pid", l.process.pid())
	err = l.watch(ctx)
	d.enter(DriverWaiting, err)
	return err
}

// enter notes the state and, if there is one, the error that led to it.
func (d *driver) enter(state DriverState, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.live, d.pid = state, nil, 0
	if err != nil {
		d.lastErr = err
	}
	d.announce()
}

func (d *driver) ready(l *live) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.live, d.info, d.pid = DriverReady, l, l.info, l.process.pid()
	d.announce()
}

// launched counts a launch.
func (d *driver) launched(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.launches++
	d.pid = pid
}

// announce wakes all that wait for a change; d.mu is held.
func (d *driver) announce() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// await returns the running driver, and waits for one that is on its way.
func (d *driver) await(ctx context.Context) (*live, error) {
	for {
		d.mu.Lock()
		l, state, last, changed := d.live, d.state, d.lastErr, d.changed
		d.mu.Unlock()
		switch state {
		case DriverReady:
			if l.usable(ctx) {
				return l, nil
			}
		case DriverBroken, DriverRefused, DriverStopped:
			return nil, d.unavailable(state, last)
		}
		select {
		case <-changed:
		case <-time.After(askAgain):
		case <-ctx.Done():
			return nil, d.unavailable(state, errors.Join(last, ctx.Err()))
		}
	}
}

func (d *driver) unavailable(state DriverState, why error) *device.Error {
	if why == nil {
		return device.Errorf(device.Unreachable, "driver %s is %s", d.name, state)
	}
	return device.Errorf(device.Unreachable, "driver %s is %s: %w", d.name, state, why)
}

func (d *driver) status() DriverStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := DriverStatus{Name: d.name, Version: d.info.Version, Kinds: d.info.Kinds, State: d.state,
		Restarts: max(0, d.launches-1), PID: d.pid}
	if d.lastErr != nil {
		s.LastError = d.lastErr.Error()
	}
	return s
}
