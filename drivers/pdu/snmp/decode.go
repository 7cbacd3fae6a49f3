package snmp

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

// maxText bounds a name that a device tells.
const maxText = 256

// exists says whether an answered variable is a value. In v2c and v3 a missing
// row is no error but a value of a special type: taking it for a number is how
// an outlet that does not exist comes to be "off".
func exists(v gosnmp.SnmpPDU) bool {
	switch v.Type {
	case gosnmp.NoSuchInstance, gosnmp.NoSuchObject, gosnmp.EndOfMibView, gosnmp.Null, gosnmp.UnknownType:
		return false
	}
	return true
}

// number returns an INTEGER or Gauge32.
func number(v gosnmp.SnmpPDU) (int, bool) {
	switch v.Type {
	case gosnmp.Integer:
		n, ok := v.Value.(int)
		return n, ok
	case gosnmp.Gauge32:
		n, ok := v.Value.(uint)
		return int(n), ok && n <= 1<<31
	}
	return 0, false
}

// text returns an OCTET STRING or object identifier, without what does not
// print.
func text(v gosnmp.SnmpPDU) string {
	var s string
	switch value := v.Value.(type) {
	case []byte:
		s = string(value)
	case string:
		s = value
	default:
		return ""
	}
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), maxText)])
	return strings.TrimSpace(s)
}

// state is what the status and the pending column say together. Whatever they
// do not say is unknown.
func (f *family) state(status, pending gosnmp.SnmpPDU) device.State {
	n, ok := number(status)
	if !ok {
		return device.StateUnknown
	}
	s := f.statusValues[n] // missing is StateUnknown
	if p, ok := number(pending); ok && f.pending != "" && p == f.pendingYes {
		switch s {
		case device.StateOn:
			return device.StatePendingOff
		case device.StateOff:
			return device.StatePendingOn
		}
	}
	return s
}

// outlet makes one of a row of the family's tables.
func (f *family) outlet(index string, row map[string]gosnmp.SnmpPDU) device.Outlet {
	o := device.Outlet{ID: index, State: f.state(row[f.status], row[f.pending]), Label: text(row[f.label])}
	for i, part := range strings.Split(index, ".") {
		switch f.index[i] {
		case byOutlet:
			o.Number, _ = strconv.Atoi(part) // validIndex made it a number
		case byStrip:
			o.Strip = part
		case byBank:
			o.Bank = part
		}
	}
	if n, ok := number(row[f.number]); ok && f.number != "" {
		o.Number = n
	}
	if n, ok := number(row[f.bank]); ok && f.bank != "" && n > 0 {
		o.Bank = strconv.Itoa(n)
	}
	return o
}
