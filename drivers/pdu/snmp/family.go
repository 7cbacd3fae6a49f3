package snmp

import (
	"strings"

	"github.com/gantry-pod/gantry/plugins/device"
)

// family is one way that a brand's PDUs speak SNMP. A new brand is a new entry
// in families, with where its numbers come from; code that knows a brand by
// name does not exist.
type family struct {
	name      string // as the vendor calls it, and as Probe tells
	vendor    string
	reference string // the MIB and the objects that the numbers come from

	// enterprise begins the sysObjectID of the devices that may speak it.
	enterprise string
	// index tells what the sub-identifiers are that a table's row is named by.
	index []indexPart

	status       string // column read; its rows are the outlets
	statusValues map[int]device.State
	pending      string // column that tells of a command still to come; may be empty
	pendingYes   int    // its value if there is one

	control        string // column written
	on, off, cycle int    // its values; cycle 0 is not supported

	label, bank, number string // columns; may be empty

	model, serial, firmware string // instances; may be empty
}

// indexPart is what one sub-identifier of a row's index counts.
type indexPart int

const (
	byOutlet indexPart = iota
	byStrip
	byBank
)

const apc = "1.3.6.1.4.1.318"

// families lists all that the driver speaks. For a device that answers to
// several, the first wins: newer firmware keeps the older tables for old
// clients, with fewer outlets or without pending commands.
func families() []family {
	return []family{
		{
			name: "rPDU2", vendor: "APC",
			reference:  "PowerNet-MIB: rPDU2OutletSwitchedStatusTable, rPDU2OutletSwitchedControlTable. The status reads 1 off, 2 on; the control takes 1 on, 2 off.",
			enterprise: apc, index: []indexPart{byOutlet},
			status: apc + ".1.1.26.9.2.3.1.5", statusValues: map[int]device.State{1: device.StateOff, 2: device.StateOn},
			pending: apc + ".1.1.26.9.2.3.1.6", pendingYes: 1,
			control: apc + ".1.1.26.9.2.4.1.5", on: 1, off: 2, cycle: 3,
			label: apc + ".1.1.26.9.2.3.1.3", bank: apc + ".1.1.26.9.2.2.1.6", number: apc + ".1.1.26.9.2.3.1.4",
			model: apc + ".1.1.26.2.1.8.1", serial: apc + ".1.1.26.2.1.9.1", firmware: apc + ".1.1.26.2.1.6.1",
		},
		{
			name: "rPDU", vendor: "APC",
			reference:  "PowerNet-MIB: rPDUOutletStatusTable, rPDUOutletControlTable.",
			enterprise: apc, index: []indexPart{byOutlet},
			status: apc + ".1.1.12.3.5.1.1.4", statusValues: map[int]device.State{1: device.StateOn, 2: device.StateOff},
			pending: apc + ".1.1.12.3.5.1.1.5", pendingYes: 1,
			control: apc + ".1.1.12.3.3.1.1.4", on: 1, off: 2, cycle: 3,
			label: apc + ".1.1.12.3.5.1.1.2", bank: apc + ".1.1.12.3.5.1.1.6",
			model: apc + ".1.1.12.1.5.0", serial: apc + ".1.1.12.1.6.0", firmware: apc + ".1.1.12.1.3.0",
		},
		{
			name: "MasterSwitch", vendor: "APC",
			reference:  "PowerNet-MIB: sPDUOutletControlTable, whose sPDUOutletCtl is read and written: 3 rebooting, 4 unknown, 5 to 7 delayed.",
			enterprise: apc, index: []indexPart{byOutlet},
			status: apc + ".1.1.4.4.2.1.3", statusValues: map[int]device.State{1: device.StateOn, 2: device.StateOff,
				5: device.StatePendingOn, 6: device.StatePendingOff, 7: device.StatePendingOff},
			pending: apc + ".1.1.4.4.2.1.2", pendingYes: 1,
			control: apc + ".1.1.4.4.2.1.3", on: 1, off: 2, cycle: 3,
			label: apc + ".1.1.4.4.2.1.4",
			model: apc + ".1.1.4.1.4.0", serial: apc + ".1.1.4.1.5.0", firmware: apc + ".1.1.4.1.2.0",
		},
	}
}

// speaks says whether a device with this sysObjectID may speak the family.
func (f *family) speaks(sysObjectID string) bool { return under(f.enterprise, sysObjectID) }

// under says whether an identifier is below a prefix.
func under(prefix, oid string) bool {
	return strings.HasPrefix(oid, prefix) && len(oid) > len(prefix) && oid[len(prefix)] == '.'
}

// validIndex says whether an outlet's ID can be a row of this family.
func (f *family) validIndex(id string) bool {
	parts := strings.Split(id, ".")
	if len(parts) != len(f.index) {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 9 || (p[0] == '0' && p != "0") || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// command is what the control column takes to be on or off.
func (f *family) command(on bool) int {
	if on {
		return f.on
	}
	return f.off
}
