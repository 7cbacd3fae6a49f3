//go:build qemu && fullimage

package e2e

import (
	"testing"

	"github.com/gantry-pod/gantry/lab/machine"
)

// TestDebianUEFI is TestDebian with the other firmware, another disk and another
// NIC. `make test-full` runs both.
func TestDebianUEFI(t *testing.T) {
	t.Parallel()
	debian(t, "du", machine.Spec{Name: "u1", Firmware: machine.UEFI, CPUs: 2, MemoryMiB: 1024,
		Disks: []machine.Disk{{Bus: "nvme", Bytes: 6 << 30}}, NICs: []machine.NIC{{Model: "e1000"}}})
}
