package asset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodFile = `
pdus:
  - name: pdu1
    driver: pdu-snmp
    address: 10.0.0.2:161
    config: {community: s3cret, version: 2c}
machines:
  - name: m1
    owner: acme
    uuid: 4C4C4544-0044-4810-8031-B4C04F4D3732
    macs: ["52-54-00-00-00-0A", 52:54:00:00:00:0b]
    power: [{pdu: pdu1, outlet: "1"}, {pdu: pdu1, outlet: "2"}]
    address: 10.0.0.50
    notes: rack 3
  - name: m2
    macs: [52:54:00:00:00:0c]
`

func TestParseFile(t *testing.T) {
	f, err := ParseFile([]byte(goodFile))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		PDUs: []FilePDU{{Name: "pdu1", Driver: "pdu-snmp", Address: "10.0.0.2:161", Config: map[string]any{"community": "s3cret", "version": "2c"}}},
		Machines: []FileMachine{
			{Name: "m1", Owner: "acme", UUID: "4c4c4544-0044-4810-8031-b4c04f4d3732", MACs: []string{"52:54:00:00:00:0a", "52:54:00:00:00:0b"},
				Power: []FileFeed{{"pdu1", "1"}, {"pdu1", "2"}}, Address: "10.0.0.50", Notes: "rack 3"},
			{Name: "m2", MACs: []string{"52:54:00:00:00:0c"}},
		},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
	for _, empty := range []string{"", "# nothing yet\n", "machines: []"} {
		if f, err := ParseFile([]byte(empty)); err != nil || len(f.Machines)+len(f.PDUs) > 0 {
			t.Errorf("file %q: %+v, %v", empty, f, err)
		}
	}
}

// TestParseFileRefused: every mistake is an error that says where it is and what
// is wrong.
func TestParseFileRefused(t *testing.T) {
	const m1, m2 = "machines: [{name: m1, macs: ['52:54:00:00:00:01']", "}, {name: m2, macs: ['52:54:00:00:00:02']"
	const pdu = "pdus: [{name: p1, driver: d, address: a}]\n"
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"not YAML":             {"machines: [", []string{"line"}},
		"not a map":            {"- m1", []string{"line"}},
		"unknown key":          {"machines:\n  - name: m1\n    mac: x\n", []string{"[3:", `unknown field "mac"`}},
		"unknown key at top":   {"machine: []\n", []string{"[1:", `unknown field "machine"`}},
		"key given twice":      {"machines: []\nmachines: []\n", []string{"[2:", "already defined"}},
		"second document":      {"machines: []\n---\nmachines: []\n", []string{"more than one"}},
		"no name":              {"machines: [{macs: ['52:54:00:00:00:01']}]", []string{"machines[0]", `name ""`}},
		"name of a path":       {"machines: [{name: ../m1, macs: ['52:54:00:00:00:01']}]", []string{"machines[0]", `"../m1"`}},
		"upper-case name":      {"machines: [{name: M1, macs: ['52:54:00:00:00:01']}]", []string{`"M1"`}},
		"name too long":        {"machines: [{name: " + strings.Repeat("a", 64) + ", macs: ['52:54:00:00:00:01']}]", []string{"1 to 63"}},
		"name given twice":     {"machines: [{name: m1, macs: ['52:54:00:00:00:01']}, {name: m1, macs: ['52:54:00:00:00:02']}]", []string{"machines[1]", "name m1"}},
		"no MAC":               {"machines: [{name: m1}]", []string{"machines[0]", "macs is empty"}},
		"bad MAC":              {"machines: [{name: m1, macs: ['52:54:00:00:00']}]", []string{"m1", "macs[0]", "not an Ethernet"}},
		"EUI-64":               {"machines: [{name: m1, macs: ['52:54:00:00:00:01:02:03']}]", []string{"not an Ethernet"}},
		"multicast MAC":        {"machines: [{name: m1, macs: ['01:54:00:00:00:01']}]", []string{"multicast"}},
		"broadcast MAC":        {"machines: [{name: m1, macs: ['ff:ff:ff:ff:ff:ff']}]", []string{"multicast"}},
		"zero MAC":             {"machines: [{name: m1, macs: ['00:00:00:00:00:00']}]", []string{"zero"}},
		"MAC twice":            {m1 + "}, {name: m2, macs: ['52-54-00-00-00-01']}]", []string{"machine m2", "52:54:00:00:00:01", "machine m1"}},
		"MAC twice in one":     {"machines: [{name: m1, macs: ['52:54:00:00:00:01', '5254.0000.0001']}]", []string{"claimed"}},
		"bad UUID":             {m1 + ", uuid: none}]", []string{"m1", `uuid "none"`}},
		"bad address":          {m1 + ", address: 10.0.0}]", []string{"m1", `address "10.0.0"`}},
		"IPv6 address":         {m1 + ", address: 'fe80::1'}]", []string{"not an IPv4"}},
		"address twice":        {m1 + ", address: 10.0.0.5" + m2 + ", address: 10.0.0.5}]", []string{"machine m2", "address 10.0.0.5", "machine m1"}},
		"PDU of nowhere":       {m1 + ", power: [{pdu: p9, outlet: '1'}]}]", []string{"m1", `pdu "p9"`}},
		"no outlet":            {pdu + m1 + ", power: [{pdu: p1}]}]", []string{"m1", "pdu p1", "no outlet"}},
		"outlet twice":         {pdu + m1 + ", power: [{pdu: p1, outlet: 1}]" + m2 + ", power: [{pdu: p1, outlet: 1}]}]", []string{"machine m2", "outlet p1/1", "machine m1"}},
		"outlet twice in one":  {pdu + m1 + ", power: [{pdu: p1, outlet: 1}, {pdu: p1, outlet: 1}]}]", []string{"outlet p1/1"}},
		"PDU twice":            {"pdus: [{name: p1, driver: d, address: a}, {name: p1, driver: d, address: a}]", []string{"pdus[1]", "twice"}},
		"PDU without a driver": {"pdus: [{name: p1, address: a}]", []string{"p1", "driver and address"}},
		"PDU without a name":   {"pdus: [{driver: d, address: a}]", []string{"pdus[0]"}},
		"too large":            {strings.Repeat("#", MaxFile+1), []string{"bytes, at most"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := ParseFile([]byte(c.file))
			if err == nil {
				t.Fatalf("accepted as %+v", f)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

// TestParseErrorsKeepSecrets: an error about one line does not quote the one
// beside it, as errors reach logs.
func TestParseErrorsKeepSecrets(t *testing.T) {
	for _, file := range []string{
		"pdus:\n  - name: p1\n    config:\n      community: s3cret\n    drivr: x\n",
		"pdus:\n  - {name: p1, config: {community: s3cret}, drivr: x}\n",
		"pdus:\n  - name: p1\n    config: {community: s3cret\n",
		"pdus:\n  - name: p1\n    config: s3cret\n",
		"pdus:\n  - name: p1\n    address: [s3cret]\n    config: {community: s3cret}\n",
	} {
		if _, err := ParseFile([]byte(file)); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("file %q: %v", file, err)
		}
	}
}

// FuzzParseFile holds that a file which is accepted makes only assets that keep
// the inventory's promises, and that nothing makes the parser fall over.
func FuzzParseFile(f *testing.F) {
	for _, s := range []string{goodFile, "", "machines: [{name: m1, macs: ['52:54:00:00:00:01']}]", "a: &a [*a]", "machines: *x",
		"a: &a [1]\nb: &b [*a,*a]\nmachines: *b", "pdus: [{name: p, driver: d, address: a, config: {1: {2: 3}}}]", "? [a]\n: b", "!!binary x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := ParseFile(b)
		if err != nil {
			return
		}
		claimed := map[string]bool{}
		claim := func(what string) {
			if claimed[what] {
				t.Errorf("%s is claimed twice", what)
			}
			claimed[what] = true
		}
		for _, m := range file.Machines {
			claim("name " + m.Name)
			if err := CheckName("machine", m.Name); err != nil || len(m.MACs) == 0 {
				t.Errorf("machine %+v: %v", m, err)
			}
			for _, mac := range m.MACs {
				claim(mac)
				if again, err := ParseMAC(mac); err != nil || again != mac {
					t.Errorf("MAC address %q: %q, %v", mac, again, err)
				}
			}
			for _, p := range m.Power {
				claim(p.PDU + " " + p.Outlet)
			}
		}
		for _, p := range file.PDUs {
			if _, err := secretJSON(p.Config); err != nil && len(p.Config) == 0 {
				t.Errorf("pdu %s: %v", p.Name, err)
			}
		}
	})
}
