package inspect

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/netboot/job"
)

// frame is a data unit as lldpd sends it: chassis MAC, port name, time to live,
// description, name, port VLAN.
var frame = []byte("\x02\x07\x04\x02\x00\x00\x00\x00\x01" + "\x04\x05\x05swp7" + "\x06\x02\x00\x78" + "\x08\x06uplink" + "\x0a\x04tor1" + "\xfe\x06\x00\x80\xc2\x01\x00\x28" + "\x00\x00")

func TestParseLLDP(t *testing.T) {
	n, err := parseLLDP(frame)
	want := job.Neighbour{ChassisID: "02:00:00:00:00:01", PortID: "swp7", SystemName: "tor1", PortDesc: "uplink", VLAN: 40}
	if err != nil || n != want {
		t.Errorf("%+v, %v", n, err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "cut off": frame[:22], "half": frame[:16], "wrong order": frame[9:], "leaving": []byte("\x02\x02\x07a\x04\x02\x07b\x06\x02\x00\x00\x00\x00"),
	} {
		if n, err := parseLLDP(b); err == nil {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func FuzzLLDP(f *testing.F) {
	f.Add(frame)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseLLDP(b)
		if err != nil {
			return
		}
		for _, s := range []string{n.ChassisID, n.PortID, n.SystemName, n.PortDesc} {
			for _, r := range s {
				if r < ' ' || r == 0x7f {
					t.Fatalf("%q in %+v", r, n)
				}
			}
		}
	})
}

// device is a Memory Device structure with the two size fields.
func device(size uint16, extended uint32) []byte {
	b := make([]byte, 0x22)
	b[0], b[1] = typeMemoryDevice, byte(len(b))
	b[offSize], b[offSize+1] = byte(size), byte(size>>8)
	for i := range 4 {
		b[offExtendedSize+i] = byte(extended >> (8 * i))
	}
	return append(b, "DIMM 0\x00\x00"...)
}

func TestSMBIOSMemory(t *testing.T) {
	var table []byte
	for _, d := range [][]byte{device(16384, 0), device(0, 0), device(0xffff, 0), device(0x7fff, 65536), device(0x8000|512, 0), {127, 4, 0, 0, 0, 0}, device(1, 0)} {
		table = append(table, d...)
	}
	if got, want := smbiosMemory(table), int64(16<<30+64<<30+512<<10); got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

func FuzzSMBIOS(f *testing.F) {
	f.Add(device(16384, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if smbiosMemory(b) < 0 {
			t.Fatal("negative memory")
		}
	})
}

func FuzzVPD(f *testing.F) {
	f.Add([]byte("\x00\x80\x00\x08  ABC12 "))
	f.Fuzz(func(t *testing.T, b []byte) { vpdSerial(b) })
}

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

// A SAS disk behind a host bus adapter, a USB stick, a DVD drive, an array and a
// hidden NVMe path: the first two are disks.
func TestDisksOfATree(t *testing.T) {
	root := fstest.MapFS{
		"sys/block/sda/size": file("3907029168\n"), "sys/block/sda/queue/logical_block_size": file("512\n"), "sys/block/sda/queue/rotational": file("1\n"),
		"sys/block/sda/device/vendor": file("SEAGATE \n"), "sys/block/sda/device/model": file("ST2000NX0433    \n"),
		"sys/block/sda/device/vpd_pg80": file("\x00\x80\x00\x0aS460ABCD  "), "sys/block/sda/device/wwid": file("naa.5000c50084a1b2c3\n"),
		"sys/block/sdb/size": file("31116288\n"), "sys/block/sdb/removable": file("1\n"), "sys/block/sdb/queue/logical_block_size": file("512\n"),
		"sys/block/sr0/size": file("1\n"), "sys/block/md127/size": file("9\n"), "sys/block/loop3/size": file("9\n"), "sys/block/dm-0/size": file("9\n"),
		"sys/block/nvme0c0n1/size": file("9\n"), "sys/block/nvme0c0n1/hidden": file("1\n"), "sys/block/sdc/size": file("0\n"),
	}
	want := []job.Disk{
		{Path: "/dev/sda", Model: "SEAGATE ST2000NX0433", Serial: "S460ABCD", WWN: "0x5000c50084a1b2c3", Bytes: 3907029168 * 512, SectorSize: 512, Rotational: true, Transport: "scsi"},
		{Path: "/dev/sdb", Bytes: 31116288 * 512, SectorSize: 512, Removable: true, Transport: "scsi"},
	}
	if d := cmp.Diff(want, Disks(root)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
