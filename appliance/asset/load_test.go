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
	m := b.machine("m1")
	if m.Inventory == nil || !m.Accepted || m.Address != second.Address || len(m.MACs) != 2 || m.Status.State != machine.Available {
		t.Errorf("m1: %+v", m)
	}
	if m, err := b.Discover(t.Context(), "52:54:00:00:00:0b", ""); err != nil || m.ID != "m1" {
		t.Errorf("discovered after the import as %s, %v", m.ID, err)
	}
}

// TestAdoptRefused: a discovered machine that a request has keeps its name, and
// an accepted one is nobody else's.
func TestAdoptRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Machine)
		want   error
	}{
		"locked":              {func(m *Machine) { m.Lock = "r1" }, ErrLocked},
		"accepted":            {func(m *Machine) { m.Accepted = true }, ErrExists},
		"accepted and locked": {func(m *Machine) { m.Accepted, m.Lock = true, "r1" }, ErrExists},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			m, err := b.Discover(t.Context(), "52:54:00:00:00:0a", "")
			if err != nil {
				t.Fatal(err)
			}
			b.set(m.ID, c.change)
			b.wantErr(b.load("machines: [{name: m1, macs: ['52:54:00:00:00:0a']}]"), c.want, "import")
			if names := b.names(); !slices.Equal(names, []string{m.ID}) {
				t.Errorf("machines: %v", names)
			}
		})
	}
}

// TestImportChanged: what a technician has set since the file was imported
// stands until the file says something else of that machine.
func TestImportChanged(t *testing.T) {
	b := newBench(t)
	again := func(file string) Imported {
		t.Helper()
		f, err := ParseFile([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		done, err := b.ImportChanged(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	const file = "pdus: [{name: p1, driver: d, address: a}]\nmachines: [{name: m1, macs: ['52:54:00:00:00:01']}, {name: m2, macs: ['52:54:00:00:00:02']}]"
	if done := again(file); len(done.Added) != 2 {
		t.Fatalf("the first time: %+v", done)
	}
	if err := b.Accept(t.Context(), "m1", "acme", []Feed{{"p1", "3"}}); err != nil {
		t.Fatal(err)
	}
	if done := again(file); len(done.Added)+len(done.Updated) != 0 {
		t.Errorf("the same file again: %+v", done)
	}
	if m := b.machine("m1"); m.Owner != "acme" || len(m.Power) != 1 {
		t.Errorf("m1: %+v", m)
	}
	if done := again(strings.Replace(file, ":01']", ":01'], notes: x", 1)); !slices.Equal(done.Updated, []string{"m1"}) {
		t.Errorf("a file that says more of m1: %+v", done)
	}
	if m := b.machine("m1"); m.Notes != "x" || len(m.Power) != 0 {
		t.Errorf("m1: %+v", m)
	}
	if err := b.Delete(t.Context(), "m2", false); err != nil {
		t.Fatal(err)
	}
	if done := again(file); !slices.Equal(done.Added, []string{"m2"}) {
		t.Errorf("without m2: %+v", done)
	}
}

// TestImportAddress: an address that the network does not have, or that
// something else has, is no machine's, whether the file gives it or the pool.
func TestImportAddress(t *testing.T) {
	a := netip.MustParseAddr
	for addr, want := range map[string]string{
		"10.0.0.1":   "is the appliance's own",
		"10.0.0.10":  "is the router's",
		"10.0.0.150": "is in dhcp.pool",
		"10.0.1.5":   "not in the provisioning network",
		"10.0.0.0":   "no host's",
		"10.0.0.255": "no host's",
		"10.0.0.200": "",
		"10.1.0.7":   "",
	} {
		t.Run(addr, func(t *testing.T) {
			b := newBench(t)
			b.pool.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.1.0.0/24")}
			b.pool.Taken = []Taken{{a("10.0.0.1"), a("10.0.0.1"), "is the appliance's own"}, {a("10.0.0.10"), a("10.0.0.10"), "is the router's"},
				{a("10.0.0.100"), a("10.0.0.199"), "is in dhcp.pool"}}
			err := b.load("machines: [{name: m1, macs: ['52:54:00:00:00:01'], address: " + addr + "}]")
			if want == "" {
				if err != nil || b.machine("m1").Address != a(addr) {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "machine m1") {
				t.Errorf("%v, want %q", err, want)
			}
			b.wantErr(err, ErrInvalid, "import")
			b.mustLoad("machines: [{name: m2, macs: ['52:54:00:00:00:02']}]")
			if m := b.machine("m2"); m.Address != a("10.0.0.11") {
				t.Errorf("m2 was given %s", m.Address)
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
	b.wantErr(err, ErrNoAddress, "a fourth machine")
	if err := b.Delete(t.Context(), "new-525400000001", false); err != nil {
		t.Fatal(err)
	}
	m, err := b.Discover(t.Context(), "52:54:00:00:00:09", "")
	if err != nil || m.Address.String() != "10.0.0.11" {
		t.Errorf("after one was deleted: %s, %v", m.Address, err)
	}
	b.pool = Pool{}
	_, err = b.Discover(t.Context(), "52:54:00:00:00:08", "")
	if b.wantErr(err, ErrNoAddress, "without a pool"); strings.Contains(err.Error(), "invalid") {
		t.Errorf("without a pool: %v", err)
	}
}
