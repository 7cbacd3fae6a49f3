// Package machine is the lifecycle of a physical computer as a pure function:
// [Next] takes where a machine stands, what happened and the time, and says
// where it stands now. It does no input or output and keeps no state, so every
// transition can be read in one table and tested without a machine.
//
//	discovered -> inspecting -> available -> reserved -> imaging -> configuring
//	  -> verifying -> active -> releasing -> available
//
// with broken, rescue and maintenance beside it. State advances on what the
// machine itself reports. How long a state may last is for the request that
// brought it about: each of its steps has a deadline.
package machine

import (
	"fmt"
	"time"
)

// State is where a machine stands in its life.
type State string

// The states of a machine.
const (
	// Discovered machines were seen on the network or imported, and have not been
	// inspected and accepted.
	Discovered State = "discovered"
	// Inspecting machines run the agent, which takes their inventory.
	Inspecting State = "inspecting"
	// Available machines are accepted, inspected and switched off, and have nothing
	// of a server. Disks that were never wiped are erased before they get one.
	Available State = "available"
	// Reserved machines are taken by a request that has put nothing on their disks.
	Reserved State = "reserved"
	// Imaging machines are being written to.
	Imaging State = "imaging"
	// Configuring machines have their image and get their identity.
	Configuring State = "configuring"
	// Verifying machines restart from their own disk and must prove who they are.
	Verifying State = "verifying"
	// Active machines carry a server.
	Active State = "active"
	// Releasing machines are being wiped; their old system must never run again.
	Releasing State = "releasing"
	// Rescue machines run the rescue system; their disks are left alone.
	Rescue State = "rescue"
	// Maintenance machines are in a technician's hands.
	Maintenance State = "maintenance"
	// Broken machines need a person; Status.Reason says why.
	Broken State = "broken"
)

// States lists every state in the order of a machine's life.
func States() []State {
	return []State{Discovered, Inspecting, Available, Reserved, Imaging, Configuring, Verifying, Active,
		Releasing, Rescue, Maintenance, Broken}
}

// Kind is what happened to a machine.
type Kind string

// The events of a machine's life.
const (
	// Inspect begins an inspection.
	Inspect Kind = "inspect"
	// Inspected ends it; Event.Accepted says whether the machine may be used.
	Inspected Kind = "inspected"
	// Accept makes an inspected, discovered machine usable.
	Accept Kind = "accept"
	// Reserve takes an available machine for a request.
	Reserve Kind = "reserve"
	// Unreserve gives back a machine that got nothing on its disks.
	Unreserve Kind = "unreserve"
	// Image begins writing; it also begins it again after a failure.
	Image Kind = "image"
	// Configure begins configuration.
	Configure Kind = "configure"
	// Verify begins the restart from the machine's own disk.
	Verify Kind = "verify"
	// Activate says that the machine proved itself.
	Activate Kind = "activate"
	// Release begins the wipe.
	Release Kind = "release"
	// Wiped says that nothing of the old system is left.
	Wiped Kind = "wiped"
	// EnterRescue and LeaveRescue bracket a rescue session.
	EnterRescue Kind = "enter-rescue"
	LeaveRescue Kind = "leave-rescue"
	// Maintain takes a machine out of use; Restore gives it back through a wipe.
	Maintain Kind = "maintain"
	Restore  Kind = "restore"
	// Revert ends an inspection that was called off: the machine is back where it
	// stood before, at Event.To.
	Revert Kind = "revert"
	// Break says that a person is needed; Event.Reason says why.
	Break Kind = "break"
)

// Event is something that happened to a machine.
type Event struct {
	Kind Kind
	// Accepted qualifies Inspected.
	Accepted bool
	// Clean qualifies Inspect: nothing of a tenant can be on the disks. Only then
	// may a broken machine be inspected without a wipe.
	Clean bool
	// To qualifies Revert.
	To State
	// Reason qualifies Break, Maintain and Revert, for people.
	Reason string
}

// Status is where a machine stands and since when.
type Status struct {
	State State `json:"state"`
	// Since is when it came to stand there.
	Since time.Time `json:"since"`
	// Reason says why, where a person would ask.
	Reason string `json:"reason,omitempty"`
}

// TransitionError says that an event makes no sense in a state.
type TransitionError struct {
	State State
	Kind  Kind
}

// Error implements error.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("a machine that is %s cannot %s", e.State, e.Kind)
}

// transitions is the whole lifecycle but for Inspected, Revert and Break, which
// depend on more than the state. Repeating the event that led to a state is
// allowed where a step may be carried out again after a crash.
var transitions = map[Kind]map[State]State{
	Inspect:     {Discovered: Inspecting, Inspecting: Inspecting, Available: Inspecting},
	Accept:      {Discovered: Available},
	Reserve:     {Available: Reserved, Reserved: Reserved},
	Unreserve:   {Reserved: Available, Available: Available},
	Image:       {Reserved: Imaging, Imaging: Imaging, Configuring: Imaging, Verifying: Imaging, Active: Imaging},
	Configure:   {Imaging: Configuring, Configuring: Configuring},
	Verify:      {Configuring: Verifying, Verifying: Verifying},
	Activate:    {Verifying: Active, Active: Active},
	Release:     {Reserved: Releasing, Imaging: Releasing, Configuring: Releasing, Verifying: Releasing, Active: Releasing, Rescue: Releasing, Releasing: Releasing, Broken: Releasing},
	Wiped:       {Releasing: Available, Available: Available},
	EnterRescue: {Active: Rescue, Rescue: Rescue},
	LeaveRescue: {Rescue: Active, Active: Active},
	Maintain:    {Discovered: Maintenance, Available: Maintenance, Broken: Maintenance, Maintenance: Maintenance},
	Restore:     {Maintenance: Releasing, Releasing: Releasing},
}

// Next returns where a machine that stands at s comes to stand when e happens
// at now. The error is a *TransitionError if e makes no sense there; s is then
// unchanged.
func Next(s Status, e Event, now time.Time) (Status, error) {
	switch e.Kind {
	case Break:
		return Status{State: Broken, Since: now, Reason: e.Reason}, nil
	case Inspect:
		if s.State == Broken && e.Clean {
			s.State = Discovered
		}
	case Revert:
		// Only the states from which an inspection is begun: it touches no disk.
		if s.State != Inspecting || e.To != Discovered && e.To != Available && e.To != Broken {
			return s, &TransitionError{s.State, e.Kind}
		}
		return Status{State: e.To, Since: now, Reason: e.Reason}, nil
	case Inspected:
		if s.State != Inspecting {
			return s, &TransitionError{s.State, e.Kind}
		}
		if e.Accepted {
			return Status{State: Available, Since: now}, nil
		}
		return Status{State: Discovered, Since: now, Reason: "inspected; waiting to be accepted"}, nil
	}
	to, ok := transitions[e.Kind][s.State]
	if !ok {
		return s, &TransitionError{s.State, e.Kind}
	}
	next := Status{State: to, Since: now, Reason: e.Reason}
	if to == s.State {
		next.Since = s.Since
	}
	return next, nil
}

// Boot is what a machine's firmware should be told.
type Boot string

// What a machine can be told to boot.
const (
	// BootAgent brings the netboot agent up.
	BootAgent Boot = "agent"
	// BootDisk goes on to the machine's own disk.
	BootDisk Boot = "disk"
	// BootWait holds the machine in the boot loader: its disk must not run.
	BootWait Boot = "wait"
)

// BootOf is what a machine in state s boots. Only a machine whose disk is meant
// to run is let through to it.
func BootOf(s State) Boot {
	switch s {
	case Verifying, Active:
		return BootDisk
	case Inspecting, Reserved, Imaging, Configuring, Releasing, Rescue:
		return BootAgent
	}
	return BootWait
}
