package pdu

import (
	"time"
)

// OutletFault is a way for an outlet to fail.
type OutletFault int

// The faults of an outlet, each seen on real devices.
const (
	// Healthy is no fault.
	Healthy OutletFault = iota
	// Dead accepts every command and never moves.
	Dead
	// Unreadable reads a value that means neither on nor off.
	Unreadable
	// ErrorButDone answers genErr to a command and carries it out, as an
	// AP8965 does.
	ErrorButDone
	// Refusing answers genErr to a command and does nothing.
	Refusing
	// Stuck has a command pending for ever once one was given.
	Stuck
)

// WireFault is what is wrong between the agent and who asks. The zero value is
// a good wire.
type WireFault struct {
	// Silent: nothing arrives.
	Silent bool
	// Slow delays every answer.
	Slow time.Duration
	// LoseReplies is how many of the next answers get lost, requests having
	// been carried out.
	LoseReplies int
	// LoseSetReplies is the same for answers to SET alone.
	LoseSetReplies int
}

// outlet is one socket; Agent.mu guards it.
type outlet struct {
	number int
	name   string
	on     bool
	fault  OutletFault

	pending bool
	timer   *time.Timer // of the command that is pending

	onSeconds, offSeconds int // of the delayed commands
}

// Fail makes an outlet fail, or heals it. Outlets that do not exist are left
// alone.
func (a *Agent) Fail(outlet int, fault OutletFault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.find(outlet); o != nil {
		o.fault = fault
	}
}

// FailWire sets what is wrong with the wire from now on.
func (a *Agent) FailWire(fault WireFault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wire = fault
}

// Outlet says whether an outlet's relay is on; false for one that does not
// exist.
func (a *Agent) Outlet(outlet int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.find(outlet)
	return o != nil && o.on
}

// Press switches an outlet at once, as the button on the device does.
func (a *Agent) Press(outlet int, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.find(outlet); o != nil {
		a.cancelPending(o)
		a.relay(o, on)
	}
}

func (a *Agent) currentWire() WireFault {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wire
}

func (a *Agent) loseReply(isSet bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.wire.LoseReplies > 0:
		a.wire.LoseReplies--
		return true
	case isSet && a.wire.LoseSetReplies > 0:
		a.wire.LoseSetReplies--
		return true
	}
	return false
}

func (a *Agent) find(number int) *outlet {
	if number < 1 || number > len(a.outlets) {
		return nil
	}
	return a.outlets[number-1]
}

// relay moves the relay and queues the move for Power; a.mu is held.
func (a *Agent) relay(o *outlet, on bool) {
	if o.on == on {
		return
	}
	o.on = on
	a.moves = append(a.moves, move{o.number, on})
	select {
	case a.moved <- struct{}{}:
	default:
	}
}

// command carries one of the outlet's commands out; a.mu is held.
func (a *Agent) command(o *outlet, c command) {
	a.cancelPending(o)
	if o.fault == Dead || c == cancelPending {
		return
	}
	if o.fault == Stuck {
		o.pending = true
		return
	}
	switch c {
	case immediateOn:
		a.after(o, a.cfg.OnDelay, func() { a.relay(o, true) })
	case immediateOff:
		a.after(o, a.cfg.OffDelay, func() { a.relay(o, false) })
	case delayedOn:
		a.after(o, seconds(o.onSeconds)+a.cfg.OnDelay, func() { a.relay(o, true) })
	case delayedOff:
		a.after(o, seconds(o.offSeconds)+a.cfg.OffDelay, func() { a.relay(o, false) })
	case immediateReboot:
		a.after(o, a.cfg.OffDelay, func() { a.cycle(o) })
	case delayedReboot:
		a.after(o, seconds(o.offSeconds)+a.cfg.OffDelay, func() { a.cycle(o) })
	}
}

// cycle is the off half of a reboot; the on half follows. a.mu is held.
func (a *Agent) cycle(o *outlet) {
	a.relay(o, false)
	a.after(o, a.cfg.RebootDuration, func() { a.relay(o, true) })
}

// after runs do, under a.mu, once the delay is over, and has the outlet's
// command pending until then. Without a delay it is done at once. a.mu is held.
func (a *Agent) after(o *outlet, delay time.Duration, do func()) {
	if delay <= 0 {
		do()
		return
	}
	o.pending = true
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if o.timer != timer {
			return // cancelled while it fired
		}
		o.pending, o.timer = false, nil
		do()
	})
	o.timer = timer
}

func (a *Agent) cancelPending(o *outlet) {
	if o.timer != nil {
		o.timer.Stop()
	}
	o.pending, o.timer = false, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
