package pdu

import (
	"fmt"
	"time"

	"github.com/gosnmp/gosnmp"
)

// command is what an outlet can be told, whatever number a model gives it.
type command int

const (
	immediateOn command = iota + 1
	immediateOff
	immediateReboot
	delayedOn
	delayedOff
	delayedReboot
	cancelPending
)

// The objects of SNMPv2-MIB's system group (RFC 3418) and of PowerNet-MIB that
// the agent has.
const (
	oidSystem = "1.3.6.1.2.1.1"
	oidAPC    = "1.3.6.1.4.1.318"
	oidRPDU2  = oidAPC + ".1.1.26"
	oidRPDU   = oidAPC + ".1.1.12"
	oidMaster = oidAPC + ".1.1.4"
)

// rPDU2's outlet status reads 1 for off and 2 for on; its control takes 1 for
// on and 2 for off. The older families use the control's numbers for both.
func (o *outlet) statusRPDU2() int {
	switch {
	case o.fault == Unreadable:
		return 0
	case o.on:
		return 2
	}
	return 1
}

func (o *outlet) statusClassic() int {
	switch {
	case o.fault == Unreadable:
		return 4 // outletUnknown
	case o.on:
		return 1
	}
	return 2
}

// control is what the control column reads: the last state as a command.
func (o *outlet) control() int {
	if o.on {
		return 1
	}
	return 2
}

func (o *outlet) pendingValue() int {
	if o.pending {
		return 1
	}
	return 2
}

// commandsRPDU2 are rPDU2OutletSwitchedControlCommand's; 4 is outletUnknown.
func commandsRPDU2() map[int]command {
	return map[int]command{1: immediateOn, 2: immediateOff, 3: immediateReboot, 5: delayedOn, 6: delayedOff, 7: delayedReboot, 8: cancelPending}
}

// commandsRPDU are rPDUOutletControlOutletCommand's.
func commandsRPDU() map[int]command {
	return map[int]command{1: immediateOn, 2: immediateOff, 3: immediateReboot, 4: delayedOn, 5: delayedOff, 6: delayedReboot, 7: cancelPending}
}

// commandsMaster are sPDUOutletCtl's; 4 is outletUnknown.
func commandsMaster() map[int]command {
	return map[int]command{1: immediateOn, 2: immediateOff, 3: immediateReboot, 5: delayedOn, 6: delayedOff, 7: delayedReboot}
}

// buildTree lists all objects of the model.
func (a *Agent) buildTree() (tree, error) {
	b := &treeBuilder{}
	a.addSystem(b)
	switch a.cfg.Model {
	case RPDU2:
		a.addRPDU2(b)
	case RPDU:
		a.addRPDU(b)
	case MasterSwitch:
		a.addMaster(b)
	default:
		return nil, fmt.Errorf("model %q: must be %s, %s or %s", a.cfg.Model, RPDU2, RPDU, MasterSwitch)
	}
	return b.tree()
}

func (a *Agent) addSystem(b *treeBuilder) {
	id := a.cfg.Identity
	object := map[Model]string{RPDU2: "6", RPDU: "4.1", MasterSwitch: "2"}[a.cfg.Model]
	b.text(oidSystem+".1.0", fmt.Sprintf("APC Web/SNMP Management Card (MB:v4.1.0 PF:%s AF1:%s MN:%s SN:%s)", id.Firmware, id.Firmware, id.Model, id.Serial))
	b.add(oidSystem+".2.0", identifier(oidAPC+".1.3.4."+object))
	b.add(oidSystem+".3.0", leaf{get: func() value {
		return value{gosnmp.TimeTicks, uint32(time.Since(a.start) / (10 * time.Millisecond))}
	}})
	b.text(oidSystem+".4.0", "Unknown")
	b.text(oidSystem+".5.0", id.Name)
	b.text(oidSystem+".6.0", id.Location)
	b.number(oidSystem+".7.0", 72)
}

func identifier(oid string) leaf {
	return leaf{get: func() value { return value{gosnmp.ObjectIdentifier, "." + oid} }}
}

// addRPDU2 adds rPDU2Ident, the device's properties and the switched outlets.
func (a *Agent) addRPDU2(b *treeBuilder) {
	id := a.cfg.Identity
	ident := oidRPDU2 + ".2.1."
	b.number(ident+"1.1", 1)
	b.number(ident+"2.1", 1)
	b.text(ident+"3.1", id.Name)
	b.text(ident+"4.1", id.Location)
	b.text(ident+"5.1", "02")
	b.text(ident+"6.1", id.Firmware)
	b.text(ident+"8.1", id.Model)
	b.text(ident+"9.1", id.Serial)
	b.number(oidRPDU2+".3.0", 1)                    // PDUs behind this address
	b.number(oidRPDU2+".4.2.1.4.1", len(a.outlets)) // outlets
	b.number(oidRPDU2+".4.2.1.5.1", len(a.outlets)) // of them switched
	b.number(oidRPDU2+".9.1.0", len(a.outlets))
	for _, o := range a.outlets {
		a.addRPDU2Outlet(b, o)
	}
}

func (a *Agent) addRPDU2Outlet(b *treeBuilder, o *outlet) {
	table := oidRPDU2 + ".9.2."
	for _, t := range []string{"1", "2", "3", "4"} {
		row := func(column int) string { return fmt.Sprintf("%s%s.1.%d.%d", table, t, column, o.number) }
		b.number(row(1), o.number)
		b.number(row(2), 1)
		b.text(row(3), o.name)
		b.number(row(4), o.number)
	}
	row := func(t, column int) string { return fmt.Sprintf("%s%d.1.%d.%d", table, t, column, o.number) }
	b.add(row(1, 5), a.delay(&o.onSeconds))
	b.add(row(1, 6), a.delay(&o.offSeconds))
	b.number(row(1, 7), int(a.cfg.RebootDuration/time.Second))
	b.number(row(2, 5), 1)
	b.number(row(2, 6), bank(o.number))
	b.add(row(3, 5), a.reading(o.statusRPDU2))
	b.add(row(3, 6), a.reading(o.pendingValue))
	b.add(row(4, 5), a.controls(o, commandsRPDU2()))
}

// addRPDU adds rPDUIdent and the outlets' control and status tables.
func (a *Agent) addRPDU(b *treeBuilder) {
	id := a.cfg.Identity
	b.text(oidRPDU+".1.1.0", id.Name)
	b.text(oidRPDU+".1.2.0", "B2")
	b.text(oidRPDU+".1.3.0", id.Firmware)
	b.text(oidRPDU+".1.5.0", id.Model)
	b.text(oidRPDU+".1.6.0", id.Serial)
	b.number(oidRPDU+".1.8.0", len(a.outlets))
	for _, o := range a.outlets {
		control := func(column int) string { return fmt.Sprintf("%s.3.3.1.1.%d.%d", oidRPDU, column, o.number) }
		status := func(column int) string { return fmt.Sprintf("%s.3.5.1.1.%d.%d", oidRPDU, column, o.number) }
		b.number(control(1), o.number)
		b.text(control(2), o.name)
		b.number(control(3), 1)
		b.add(control(4), a.controls(o, commandsRPDU()))
		b.number(control(5), bank(o.number))
		b.number(status(1), o.number)
		b.text(status(2), o.name)
		b.number(status(3), 1)
		b.add(status(4), a.reading(o.statusClassic))
		b.add(status(5), a.reading(o.pendingValue))
		b.number(status(6), bank(o.number))
	}
}

// addMaster adds sPDUIdent and the outlet control table, whose one column is
// read and written.
func (a *Agent) addMaster(b *treeBuilder) {
	id := a.cfg.Identity
	b.text(oidMaster+".1.1.0", "B2")
	b.text(oidMaster+".1.2.0", id.Firmware)
	b.text(oidMaster+".1.4.0", id.Model)
	b.text(oidMaster+".1.5.0", id.Serial)
	b.number(oidMaster+".4.1.0", len(a.outlets))
	for _, o := range a.outlets {
		row := func(column int) string { return fmt.Sprintf("%s.4.2.1.%d.%d", oidMaster, column, o.number) }
		b.number(row(1), o.number)
		b.add(row(2), a.reading(o.pendingValue))
		control := a.controls(o, commandsMaster())
		control.get = a.reading(o.statusClassic).get
		b.add(row(3), control)
		b.text(row(4), o.name)
	}
}

func bank(outlet int) int { return (outlet + 23) / 24 }

// reading is a column that is computed under the lock.
func (a *Agent) reading(of func() int) leaf {
	return leaf{get: func() value {
		a.mu.Lock()
		defer a.mu.Unlock()
		return value{gosnmp.Integer, of()}
	}}
}

// controls is a column that takes commands.
func (a *Agent) controls(o *outlet, commands map[int]command) leaf {
	l := a.reading(o.control)
	l.check = func(n int) bool { return commands[n] != 0 }
	l.set = func(n int) gosnmp.SNMPError {
		a.mu.Lock()
		defer a.mu.Unlock()
		fault := o.fault
		if fault != Refusing {
			a.command(o, commands[n])
		}
		if fault == Refusing || fault == ErrorButDone {
			return gosnmp.GenErr
		}
		return gosnmp.NoError
	}
	return l
}

// delay is a configurable number of seconds, 0 to 7200 as in the MIB.
func (a *Agent) delay(of *int) leaf {
	l := a.reading(func() int { return *of })
	l.check = func(n int) bool { return n >= 0 && n <= 7200 }
	l.set = func(n int) gosnmp.SNMPError {
		a.mu.Lock()
		defer a.mu.Unlock()
		*of = n
		return gosnmp.NoError
	}
	return l
}
