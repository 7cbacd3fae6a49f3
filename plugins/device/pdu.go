package device

import "encoding/json"

// Target is one device and how to reach it.
type Target struct {
	// Address is host or host:port, as the driver's schema documents.
	Address string
	// Config is a JSON object that fits the driver's schema. It holds the
	// device's secrets: never log it.
	Config json.RawMessage
	// Name is the device's name in the inventory, for messages only.
	Name string
}

// Identity is who a device says it is and what it can do. A string that the
// device does not tell is empty, a number is zero.
type Identity struct {
	Vendor, Model, Serial, Firmware string
	// Name is what the device calls itself (SNMP's sysName).
	Name string
	// Family is which of its protocols the driver speaks to it, such as rPDU2.
	Family string

	CanSet     bool // outlets can be switched
	CanCycle   bool // the device itself can switch an outlet off and on
	TellsMoves bool // it tells of accepted changes that are still to come

	Outlets       int // how many it has
	ParallelCalls int // how many calls it bears at once
}

// Outlet is one switched socket of a PDU.
type Outlet struct {
	ID     string // opaque, stable, unique within the device
	Strip  string // the strip behind a PDU controller, if any
	Bank   string
	Number int    // as printed beside the socket, from 1; 0 is not known
	Label  string // as named in the device
	State  State
}

// Reading is the answer for one outlet: its state, or why there is none.
type Reading struct {
	ID    string
	State State
	Err   *Error // nil when State is an answer
}

// Change asks for one outlet to be on or off.
type Change struct {
	Outlet string
	On     bool
	// OperationID names the change in logs, and repeats of it.
	OperationID string
	// Generation is the caller's fencing token: a change with a lower one than
	// the outlet has seen is refused with StaleGeneration.
	Generation uint64
	// DryRun does everything but the change.
	DryRun bool
}

// Result is what became of a change.
type Result struct {
	Before State
	After  State // as read back; equal to Before in a dry run
	// Outcome is applied only if After is what was asked for, except in a dry
	// run, where it tells what would happen.
	Outcome Outcome
	// DeviceCode is an error that the device answered although it obeyed.
	DeviceCode string
}

// Info is who a driver is.
type Info struct {
	Name    string // what the operator calls it: pdu-snmp
	Vendor  string
	Version string // semantic version, no leading v
	Kinds   []string
}

// KindPDU is the name of the PDU kind in Info.Kinds.
const KindPDU = "pdu"
