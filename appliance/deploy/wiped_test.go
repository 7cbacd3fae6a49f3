package deploy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/netboot/job"
)

// twoDisks is a machine with a disk that has a serial number, one that has a WWN,
// one that has neither and a removable one.
func twoDisks() asset.Machine {
	return asset.Machine{ID: "m1", Inventory: &job.Inventory{Disks: []job.Disk{
		{Path: "/dev/sda", Serial: "S1", Bytes: 100}, {Path: "/dev/sdb", WWN: "0xA", Bytes: 200}, {Path: "/dev/vda", Bytes: 50},
		{Path: "/dev/sdc", Serial: "USB", Bytes: 10, Removable: true},
	}}}
}

// TestBelieve: a wipe counts if each disk that had to be wiped was, whatever its
// path is by now.
func TestBelieve(t *testing.T) {
	full := func(path, serial, wwn string, bytes int64) job.WipedDisk {
		return job.WipedDisk{Path: path, Serial: serial, WWN: wwn, Bytes: bytes, Verified: "full"}
	}
	all := []job.WipedDisk{full("/dev/sda", "S1", "", 100), full("/dev/sdb", "", "0xa", 200), full("/dev/vda", "", "", 50)}
	usb := full("/dev/sdd", "USB", "", 10)
	for name, c := range map[string]struct {
		m     func(m *asset.Machine)
		wiped []job.WipedDisk
		want  string
	}{
		"all":                {nil, all, ""},
		"other paths":        {nil, []job.WipedDisk{full("/dev/sdb", "S1", "", 100), full("/dev/sda", "", "0xa", 200), all[2]}, ""},
		"more than was":      {nil, append([]job.WipedDisk{full("/dev/sdx", "S9", "", 1)}, all...), ""},
		"nothing":            {nil, nil, "names no disk"},
		"nothing of one":     {nil, []job.WipedDisk{{}}, "not read back"},
		"one missing":        {nil, all[:2], `disk /dev/vda (serial "", 50 bytes)`},
		"another in place":   {nil, []job.WipedDisk{full("/dev/sda", "S9", "", 100), all[1], all[2]}, `disk /dev/sda (serial "S1"`},
		"a part of it":       {nil, []job.WipedDisk{full("/dev/sda", "S1", "", 99), all[1], all[2]}, `disk /dev/sda (serial "S1"`},
		"one not read":       {nil, []job.WipedDisk{{Path: "/dev/sda", Serial: "S1", Bytes: 100}, all[1], all[2]}, "not read back"},
		"one for two":        {func(m *asset.Machine) { m.Inventory.Disks[1] = m.Inventory.Disks[0] }, []job.WipedDisk{all[0], all[2]}, `serial "S1"`},
		"never inspected":    {func(m *asset.Machine) { m.Inventory = nil }, all[:1], ""},
		"server's disk":      {server("/dev/sdz", "S1"), all, ""},
		"another than its":   {server("/dev/sda", "S7"), all, `the server's disk /dev/sda (serial "S7")`},
		"server's stick":     {server("/dev/sdc", "USB"), all, `disk /dev/sdc (serial "USB"`},
		"server's stick too": {server("/dev/sdc", "USB"), append([]job.WipedDisk{usb}, all...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := twoDisks()
			if c.m != nil {
				c.m(&m)
			}
			p := believe(&m, wipeSpec(&m, job.DiskHint{}), c.wiped)
			if (p == nil) != (c.want == "") {
				t.Fatalf("%v, want %q", p, c.want)
			}
			if p != nil && (!strings.Contains(p.Detail, c.want) || p.Code != "wipe-unverified" || !p.Person || p.Retry) {
				t.Errorf("%+v, want %q", p, c.want)
			}
		})
	}
}

func server(path, serial string) func(m *asset.Machine) {
	return func(m *asset.Machine) { m.Server = &asset.Server{Disk: path, DiskSerial: serial} }
}

// TestWipeSpec: a removable disk is wiped only if a server was put on it; one on
// USB because the inventory has it.
func TestWipeSpec(t *testing.T) {
	usb := []job.DiskHint{{Serial: "USB"}, {}}
	for name, c := range map[string]struct {
		m     func(m *asset.Machine)
		asked job.DiskHint
		want  []job.DiskHint
	}{
		"nothing asked":   {nil, job.DiskHint{}, nil},
		"a fixed one":     {nil, job.DiskHint{Serial: "S1"}, nil},
		"a removable one": {nil, job.DiskHint{Path: "/dev/sdc"}, usb},
		"on the stick":    {server("/dev/sdx", "USB"), job.DiskHint{}, usb},
		"on a fixed one":  {server("/dev/sda", "S1"), job.DiskHint{MinBytes: 1}, nil},
		"one on USB":      {func(m *asset.Machine) { m.Inventory.Disks[0].Transport = "usb" }, job.DiskHint{}, []job.DiskHint{{Serial: "S1"}, {}}},
		"only on USB": {func(m *asset.Machine) {
			m.Inventory.Disks = []job.Disk{{Serial: "S1", Transport: "usb"}}
		}, job.DiskHint{}, []job.DiskHint{{Serial: "S1"}}},
		"without inventory": {func(m *asset.Machine) { m.Inventory = nil }, job.DiskHint{Path: "/dev/sdc"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := twoDisks()
			if c.m != nil {
				c.m(&m)
			}
			if d := cmp.Diff(&job.WipeSpec{Method: "best", Disks: c.want}, wipeSpec(&m, c.asked)); d != "" {
				t.Error(d)
			}
		})
	}
}
