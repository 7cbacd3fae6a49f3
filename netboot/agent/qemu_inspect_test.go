//go:build qemu

package agent

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/netboot/job"
)

// The inventory is what QEMU was given: three disks on three buses with their
// serials, and two NICs of different makes.
func TestInventoryIsWhatTheMachineHas(t *testing.T) {
	a := newAppliance(t)
	var dev []string
	for _, d := range []struct{ name, device string }{
		{"d1", "virtio-blk-pci,drive=d1,serial=VIRT-1"},
		{"d2", "nvme,drive=d2,serial=NVME-2"},
		{"d3", "ide-hd,drive=d3,serial=SATA-3,rotation_rate=7200,wwn=0x5000c50015ea71ac,model=SPINNING"},
	} {
		_, drive := diskImage(t, d.name, 64<<20)
		dev = append(dev, append(drive, "-device", d.device)...)
	}
	dev = append(dev, "-netdev", "user,id=n2", "-device", "e1000,netdev=n2,romfile=,mac=52:54:00:12:34:02",
		"-smbios", "type=1,manufacturer=Acme,product=Brick 9,serial=S-1,uuid=12345678-1234-1234-1234-123456789ABC", "-uuid", "12345678-1234-1234-1234-123456789abc")
	m := boot(t, a, dev...)
	inv := a.mustDo(m, job.Job{ID: "i1", Kind: job.Inspect, Inspect: &job.InspectSpec{}}, time.Minute).Inventory
	slices.SortFunc(inv.NICs, func(a, b job.Link) int { return cmp.Compare(a.MAC, b.MAC) })
	t.Logf("%+v", *inv)

	want := []job.Disk{
		{Path: "/dev/nvme0n1", Model: "QEMU NVMe Ctrl", Serial: "NVME-2", Bytes: 64 << 20, SectorSize: 512, Transport: "nvme", Discard: true, WWN: inv.Disks[0].WWN},
		{Path: "/dev/sda", Model: "SPINNING", Serial: "SATA-3", WWN: "0x5000c50015ea71ac", Bytes: 64 << 20, SectorSize: 512, Rotational: true, Transport: "ata", Discard: true},
		{Path: "/dev/vda", Serial: "VIRT-1", Bytes: 64 << 20, SectorSize: 512, Rotational: true, Transport: "virtio", Discard: true},
	}
	if d := gocmp.Diff(want, inv.Disks); d != "" {
		t.Errorf("disks (-want +got):\n%s", d)
	}
	for i, driver := range []string{"virtio_net", "e1000"} {
		n := inv.NICs[i]
		if n.Driver != driver || n.MTU != 1500 || !strings.HasPrefix(n.PCI, "0000:0") {
			t.Errorf("NIC %d: %+v, want driver %s", i, n, driver)
		}
	}
	if got := inv.System; got.Vendor != "Acme" || got.Product != "Brick 9" || got.Serial != "S-1" || got.UUID != "12345678-1234-1234-1234-123456789abc" {
		t.Errorf("system: %+v", got)
	}
	if c := inv.CPU; c.Threads != 2 || c.Arch != "amd64" || c.Model == "" {
		t.Errorf("CPU: %+v", c)
	}
	if inv.Memory != 1<<30 || inv.Firmware != "bios" || inv.SecureBoot {
		t.Errorf("memory %d, firmware %s, secure boot %v", inv.Memory, inv.Firmware, inv.SecureBoot)
	}
	a.mustDo(m, job.Job{ID: "p1", Kind: job.PowerOff}, time.Minute)
	m.waitExit(t, time.Minute)
	if log := a.logText(); !strings.Contains(log, "welcome") || strings.Contains(log, sessionToken) || strings.Contains(log, bootToken) {
		t.Errorf("the appliance's copy of the log:\n%s", log)
	}
}
