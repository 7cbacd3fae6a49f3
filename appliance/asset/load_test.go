package asset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gantry-pod/gantry/appliance/machine"
)

func TestImport(t *testing.T) {
	b := newBench(t)
	b.mustLoad(goodFile)
	m := b.machine("m1")
	if m.Address.String() != "10.0.0.50" || !m.Accepted || m.Status.State != machine.Discovered || m.Owner != "acme" ||
		m.BootMAC() != "52:54:00:00:00:0a" || len(m.Power) != 2 || m.Notes != "rack 3" {
		t.Errorf("m1: %+v", m)
	}
	if a := b.machine("m2").Address.String(); a != "10.0.0.10" {
		t.Errorf("m2 has address %s, want the pool's first", a)
	}
	p, err := b.PDU(t.Context(), "pdu1")
	if err != nil || string(p.Config) != `{"community":"s3cret","version":"2c"}` {
		t.Errorf("pdu1: %s, %v", string(p.Config), err)
	}
	list, err := b.PDUs(t.Context())
	if err != nil || len(list) != 1 || list[0].Config != nil {
		t.Errorf("the list of PDUs shows %v, %v", list, err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", p, p, p, p.Config); strings.Contains(s, "s3cret") {
		t.Errorf("printing the PDU shows its secret: %s", s)
	}
	on, err := b.ByOutlet(t.Context(), Feed{"pdu1", "2"})
	if err != nil || on.ID != "m1" {
		t.Errorf("on outlet 2: %s, %v", on.ID, err)
	}
	_, err = b.ByOutlet(t.Context(), Feed{"pdu1", "3"})
	b.wantErr(err, ErrNotFound, "an outlet that feeds nothing")
	_, err = b.PDU(t.Context(), "pdu2")
	b.wantErr(err, ErrNotFound, "a PDU of nowhere")
}

// TestImportAgain: the file's wiring replaces the old, and what the file does
// not name is left alone.
func TestImportAgain(t *testing.T) {
	b := newBench(t)
	b.mustLoad(goodFile)
	b.set("m1", inState(machine.Active))
	b.mustLoad("pdus: [{name: pdu1, driver: other, address: b}]\nmachines: [{name: m1, macs: ['52:54:00:00:00:0b'], power: [{pdu: pdu1, outlet: '2'}]}]")
	m := b.machine("m1")
	if d := cmp.Diff([]Feed{{"pdu1", "2"}}, m.Power); d != "" || m.Status.State != machine.Active || m.BootMAC() != "52:54:00:00:00:0b" ||
		m.Address.String() != "10.0.0.50" || m.UUID == "" {
		t.Errorf("m1: %+v %s", m, d)
	}
	_, err := b.ByMAC(t.Context(), "52:54:00:00:00:0a")
	b.wantErr(err, ErrNotFound, "an address that it had")
	b.machine("m2")
	if p, err := b.PDU(t.Context(), "pdu1"); err != nil || p.Driver != "other" || string(p.Config) != "{}" {
		t.Errorf("pdu1: %+v, %v", p, err)
	}
}

// TestImportIsAllOrNothing: one machine of a file that cannot be taken leaves
// the inventory as it was.
func TestImportIsAllOrNothing(t *testing.T) {
	const m9 = "{name: m9, macs: ['52:54:00:00:00:99']}"
	for name, c := range map[string]struct {
		last string
		want error
	}{
		"MAC of another":     {"{name: m8, macs: ['52:54:00:00:00:88', '52:54:00:00:00:0a']}", ErrExists},
		"address of another": {"{name: m8, macs: ['52:54:00:00:00:88'], address: 10.0.0.50}", ErrExists},
		"outlet of another":  {"{name: m8, macs: ['52:54:00:00:00:88'], power: [{pdu: pdu1, outlet: '1'}]}", ErrExists},
		"locked machine":     {"{name: m2, macs: ['52:54:00:00:00:0c'], address: 10.0.0.60}", ErrLocked},
		"no address left":    {"{name: m7, macs: ['52:54:00:00:00:77']}, {name: m8, macs: ['52:54:00:00:00:88']}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustLoad(goodFile)
			b.set("m2", func(m *Machine) { m.Lock = "r1" })
			before, _ := b.Machines(t.Context())
			err := b.load("pdus: [{name: pdu1, driver: x, address: y}, {name: pdu9, driver: x, address: y}]\nmachines: [" + m9 + ", " + c.last + "]")
			if err == nil {
				t.Fatal("imported")
			}
			if c.want != nil {
				b.wantErr(err, c.want, "import")
			} else if !strings.Contains(err.Error(), "m8") || !strings.Contains(err.Error(), "dhcp.machines") {
				t.Errorf("error %q names neither the machine nor what to do", err)
			}
			after, _ := b.Machines(t.Context())
			if d := cmp.Diff(before, after, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
			if list, _ := b.PDUs(t.Context()); len(list) != 1 || list[0].Driver != "pdu-snmp" {
				t.Errorf("PDUs: %+v", list)
			}
		})
	}
}

// TestImportBesideWork: a file that leaves the wiring of a machine in work as it
// is can be imported, so a new machine need not wait for it.
func TestImportBesideWork(t *testing.T) {
	b := newBench(t)
	b.mustLoad(goodFile)
	b.set("m1", func(m *Machine) { m.Lock = "r1" })
	b.mustLoad(strings.Replace(goodFile, "rack 3", "rack 4", 1) + "  - {name: m3, macs: ['52:54:00:00:00:0d']}\n")
	if m := b.machine("m1"); m.Lock != "r1" || m.Notes != "rack 4" {
		t.Errorf("m1: %+v", m)
	}
	b.machine("m3")
}

// TestAdopt: a machine that was discovered takes the name that the technician
// gives it, and keeps what was found; two that are one become one.
func TestAdopt(t *testing.T) {
	b := newBench(t)
	first, err := b.Discover(t.Context(), "52:54:00:00:00:0a", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Discover(t.Context(), "52:54:00:00:00:0b", "")
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != "new-52540000000a" || first.Accepted || first.Address == second.Address {
		t.Errorf("discovered %+v and %+v", first, second)
	}
	again, err := b.Discover(t.Context(), "52:54:00:00:00:0a", "")
	if err != nil || again.ID != first.ID {
		t.Errorf("discovered again as %s, %v", again.ID, err)
	}
	b.set(second.ID, inspected)
	b.mustLoad("machines: [{name: m1, macs: ['52:54:00:00:00:0a', '52:54:00:00:00:0b']}]")
	if names := b.names(); !slices.Equal(names, []string{"m1"}) {
		t.Fatalf("machines: %v", names)
	}
	if m := b.machine("m1"); m.Inventory == nil || !m.Accepted || m.Address != second.Address || len(m.MACs) != 2 {
		t.Errorf("m1: %+v", m)
	}
	if m, err := b.Discover(t.Context(), "52:54:00:00:00:0b", ""); err != nil || m.ID != "m1" {
		t.Errorf("discovered after the import as %s, %v", m.ID, err)
	}
}

// TestAdoptRefused: a discovered machine that a request has keeps its name, and
// an accepted one is nobody else's.
func TestAdoptRefused(t *testing.T) {
	for name, change := range map[string]func(*Machine){
		"locked":   func(m *Machine) { m.Lock = "r1" },
		"accepted": func(m *Machine) { m.Accepted = true },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			m, err := b.Discover(t.Context(), "52:54:00:00:00:0a", "")
			if err != nil {
				t.Fatal(err)
			}
			b.set(m.ID, change)
			b.wantErr(b.load("machines: [{name: m1, macs: ['52:54:00:00:00:0a']}]"), ErrExists, "import")
			if names := b.names(); !slices.Equal(names, []string{m.ID}) {
				t.Errorf("machines: %v", names)
			}
		})
	}
}

// TestPoolExhausted: the pool's three addresses serve three machines; a fourth
// is refused until one is given back.
func TestPoolExhausted(t *testing.T) {
	b := newBench(t)
	for i := range 3 {
		if _, err := b.Discover(t.Context(), fmt.Sprintf("52:54:00:00:00:0%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Discover(t.Context(), "52:54:00:00:00:09", "")
	if err == nil || !strings.Contains(err.Error(), "10.0.0.10-10.0.0.12") {
		t.Fatalf("a fourth machine: %v", err)
	}
	if err := b.Delete(t.Context(), "new-525400000001"); err != nil {
		t.Fatal(err)
	}
	m, err := b.Discover(t.Context(), "52:54:00:00:00:09", "")
	if err != nil || m.Address.String() != "10.0.0.11" {
		t.Errorf("after one was deleted: %s, %v", m.Address, err)
	}
}
