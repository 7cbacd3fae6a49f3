package snmp

import (
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

// TestState reads every family's values; whatever is not in its table is
// unknown.
func TestState(t *testing.T) {
	t.Parallel()
	all := families()
	rpdu2, rpdu, master := &all[0], &all[1], &all[2]
	integer := func(n int) gosnmp.SnmpPDU { return gosnmp.SnmpPDU{Type: gosnmp.Integer, Value: n} }
	idle, moving, missing := integer(2), integer(1), gosnmp.SnmpPDU{}
	tests := []struct {
		name            string
		family          *family
		status, pending gosnmp.SnmpPDU
		want            device.State
	}{
		{"rPDU2 1 is off", rpdu2, integer(1), idle, device.StateOff},
		{"rPDU2 2 is on", rpdu2, integer(2), idle, device.StateOn},
		{"rPDU 1 is on", rpdu, integer(1), idle, device.StateOn},
		{"rPDU 2 is off", rpdu, integer(2), idle, device.StateOff},
		{"MasterSwitch 1 is on", master, integer(1), idle, device.StateOn},
		{"MasterSwitch 2 is off", master, integer(2), idle, device.StateOff},
		{"MasterSwitch 3 is rebooting", master, integer(3), idle, device.StateUnknown},
		{"MasterSwitch 4 is unknown", master, integer(4), idle, device.StateUnknown},
		{"MasterSwitch 5 is on with delay", master, integer(5), moving, device.StatePendingOn},
		{"MasterSwitch 6 is off with delay", master, integer(6), moving, device.StatePendingOff},
		{"on and moving", rpdu2, integer(2), moving, device.StatePendingOff},
		{"off and moving", rpdu2, integer(1), moving, device.StatePendingOn},
		{"pending not told", rpdu2, integer(1), missing, device.StateOff},
		{"pending unknown", rpdu2, integer(1), integer(3), device.StateOff},
		{"0", rpdu2, integer(0), idle, device.StateUnknown},
		{"3", rpdu2, integer(3), idle, device.StateUnknown},
		{"negative", rpdu, integer(-2), idle, device.StateUnknown},
		{"no such instance", rpdu2, gosnmp.SnmpPDU{Type: gosnmp.NoSuchInstance}, idle, device.StateUnknown},
		{"text", rpdu, gosnmp.SnmpPDU{Type: gosnmp.OctetString, Value: []byte("2")}, idle, device.StateUnknown},
		{"unknown and moving", rpdu2, integer(9), moving, device.StateUnknown},
	}
	for _, tt := range tests {
		if got := tt.family.state(tt.status, tt.pending); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestFamilies holds every entry of the table to what an entry must have.
func TestFamilies(t *testing.T) {
	t.Parallel()
	for _, f := range families() {
		states := map[device.State]bool{}
		for _, s := range f.statusValues {
			states[s] = true
		}
		if !states[device.StateOn] || !states[device.StateOff] {
			t.Errorf("%s: no value means on, or none off", f.name)
		}
		if f.on == f.off || f.on == f.cycle || f.off == f.cycle {
			t.Errorf("%s: two commands have one number", f.name)
		}
		if f.vendor == "" || !strings.Contains(f.reference, "MIB") || len(f.index) == 0 || f.control == "" || f.status == "" {
			t.Errorf("%s: the entry is not complete", f.name)
		}
		for _, oid := range []string{f.status, f.control} {
			if !under(f.enterprise, oid) {
				t.Errorf("%s: %s is not below its enterprise", f.name, oid)
			}
		}
	}
}

func TestValidIndex(t *testing.T) {
	t.Parallel()
	f := family{index: []indexPart{byStrip, byOutlet}}
	for id, want := range map[string]bool{"1.2": true, "0.24": true, "1": false, "1.2.3": false, "1.": false, "a.b": false, "01.2": false, "-1.2": false, "1.2 ": false, "": false, "1.9999999999": false} {
		if got := f.validIndex(id); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}

// TestConfig reads configurations, with the schema's defaults.
func TestConfig(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address, config string
		port            uint16
		fault           string // in the error; empty for a good one
	}{
		{"pdu1", `{"community":"c"}`, 161, ""},
		{"pdu1:1161", `{"community":"c"}`, 1161, ""},
		{"[2001:db8::1]:162", `{"community":"c"}`, 162, ""},
		{"2001:db8::1", `{"community":"c"}`, 161, ""},
		{"pdu1", `{"version":"3","user":"u","auth_password":"12345678"}`, 161, ""},
		{"", `{"community":"c"}`, 0, "host is needed"},
		{"pdu1:http", `{"community":"c"}`, 0, "not a port"},
		{"pdu1", ``, 0, "community"},
		{"pdu1", `{"community":7}`, 0, "community"},
		{"pdu1", `{"version":"4","community":"c"}`, 0, "version"},
		{"pdu1", `{"version":"3"}`, 0, "user"},
		{"pdu1", `{"community":"c","retries":99}`, 0, "range"},
		{"pdu1", `{"community":"c","auth_protocol":"ROT13"}`, 0, "auth_protocol"},
		{"pdu1", `{"community":"c"`, 0, "not JSON"},
	}
	for _, tt := range tests {
		c, err := parseTarget(device.Target{Address: tt.address, Config: []byte(tt.config)})
		if tt.fault == "" && (err != nil || c.port != tt.port || c.WriteCommunity != c.Community) {
			t.Errorf("%s %s: %+v, %v", tt.address, tt.config, c, err)
		}
		if tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)) {
			t.Errorf("%s %s: %v, want an error about %s", tt.address, tt.config, err, tt.fault)
		}
	}
}

// FuzzAnswer decodes whatever a device may answer: it must not panic, and
// only an INTEGER (or Gauge32) with off's number is off.
func FuzzAnswer(f *testing.F) {
	all := families()
	for _, v := range []gosnmp.SnmpPDU{
		{Name: all[0].status + ".1", Type: gosnmp.Integer, Value: 1},
		{Name: all[0].status + ".1", Type: gosnmp.Integer, Value: 2},
		{Name: all[0].status + ".1", Type: gosnmp.NoSuchInstance},
		{Name: all[0].status + ".1", Type: gosnmp.EndOfMibView},
		{Name: all[1].status + ".1", Type: gosnmp.OctetString, Value: "2"},
		{Name: all[2].status + ".1", Type: gosnmp.Gauge32, Value: uint32(2)},
		{Name: all[0].label + ".1", Type: gosnmp.OctetString, Value: "web\x00\xff1"},
	} {
		raw, err := (&gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "c", PDUType: gosnmp.GetResponse, RequestID: 1, Variables: []gosnmp.SnmpPDU{v}}).MarshalMsg()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		packet, err := decodeGuarded(raw)
		if err != nil {
			return
		}
		s := newSession(config{}, device.Target{Name: "fuzz"})
		for i := range all {
			family := &all[i]
			columns := []string{family.status, family.label}
			at := map[string]string{family.status: family.status, family.label: family.label}
			rows := table{}
			if s.collect(rows, columns, at, packet.Variables) != nil {
				continue
			}
			for index, row := range rows {
				if !family.validIndex(index) {
					continue
				}
				checkOff(t, family, family.outlet(index, row), row[family.status])
			}
		}
	})
}

// checkOff fails if an outlet is off for another reason than its value.
func checkOff(t *testing.T, f *family, o device.Outlet, status gosnmp.SnmpPDU) {
	t.Helper()
	if o.State != device.StateOff {
		return
	}
	n, ok := number(status)
	if !ok || f.statusValues[n] != device.StateOff {
		t.Errorf("%s: %v is taken for off", f.name, status)
	}
	if len(o.Label) > maxText {
		t.Errorf("a label of %d bytes", len(o.Label))
	}
}

// decodeGuarded decodes as gosnmp's own client does, which turns its decoder's
// panics into errors.
func decodeGuarded(raw []byte) (packet *gosnmp.SnmpPacket, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = gosnmp.ErrInvalidMsgs
		}
	}()
	return (&gosnmp.GoSNMP{}).SnmpDecodePacket(raw)
}
