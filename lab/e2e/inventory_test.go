//go:build qemu

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// found is what both QEMU was given and an inspection can tell.
type found struct {
	UUID, Firmware string
	CPUs           int
	MemoryMiB      int64
	Disks          map[string]disk   // by serial number
	NICs           map[string]string // driver by MAC address
}

type disk struct {
	Transport  string
	Bytes      int64
	Rotational bool
}

// transports and drivers are Linux' words for what QEMU emulates.
var (
	transports = map[string]string{"virtio": "virtio", "nvme": "nvme", "ahci": "ata", "scsi": "scsi"}
	drivers    = map[string]string{"virtio": "virtio_net", "e1000": "e1000", "e1000e": "e1000e"}
)

// wantInventory compares what was found in a machine with what QEMU was given.
func wantInventory(t *testing.T, spec machine.Spec, m client.Machine) {
	t.Helper()
	want := found{UUID: spec.UUID, Firmware: string(spec.Firmware), CPUs: spec.CPUs, MemoryMiB: int64(spec.MemoryMiB),
		Disks: map[string]disk{}, NICs: map[string]string{}}
	for _, d := range spec.Disks {
		// Linux takes every virtio disk for a spinning one.
		want.Disks[d.Serial] = disk{transports[d.Bus], d.Bytes, d.Rotational || d.Bus == "virtio"}
	}
	for _, n := range spec.NICs {
		want.NICs[n.MAC] = drivers[n.Model]
	}
	inv := m.Inventory
	if inv == nil {
		t.Fatal("inspected, and there is no inventory")
	}
	got := found{UUID: inv.System.UUID, Firmware: inv.Firmware, CPUs: inv.CPU.Threads, MemoryMiB: inv.Memory >> 20,
		Disks: map[string]disk{}, NICs: map[string]string{}}
	for _, d := range inv.Disks {
		got.Disks[d.Serial] = disk{d.Transport, d.Bytes, d.Rotational}
	}
	for _, n := range inv.NICs {
		got.NICs[n.MAC] = n.Driver
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the inventory is not what QEMU was given (-given +found):\n%s", diff)
	}
}
