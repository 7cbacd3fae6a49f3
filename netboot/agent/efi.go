package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/inspect"
)

// efiVars is where the kernel shows the firmware's variables (UEFI 2.10, 8.2).
const efiVars = "/sys/firmware/efi/efivars"

// globalVariable is EFI_GLOBAL_VARIABLE, which the names of variables end in.
const globalVariable = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// efiVariables mounts the firmware's variables, if the machine has any: whether
// Secure Boot is enforced is one of them. That it cannot be done is told and is
// no failure of the job.
func (d Devices) efiVariables() {
	if inspect.Firmware(os.DirFS("/")) != "uefi" {
		return
	}
	if err := d.Loader.Load("efivarfs"); err != nil {
		d.Log.Debug("driver", "module", "efivarfs", "err", err)
	}
	err := unix.Mount("efivarfs", efiVars, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		d.Log.Warn("the firmware's variables cannot be read: Secure Boot is not known", "err", err)
	}
}

// currentFirst is a BootOrder with BootCurrent, the entry that the machine came
// here by, at its head, where the network must stay; nil if it is there already
// or either is malformed. Both have their four bytes of attributes before them.
func currentFirst(order, current []byte) []byte {
	const attributes = 4
	if len(order) < attributes+2 || len(order)%2 != 0 || len(current) != attributes+2 {
		return nil
	}
	entry := func(b []byte, i int) uint16 { return binary.LittleEndian.Uint16(b[attributes+2*i:]) }
	was := entry(current, 0)
	if entry(order, 0) == was {
		return nil
	}
	out := binary.LittleEndian.AppendUint16(slices.Clone(order[:attributes]), was)
	for i := range (len(order) - attributes) / 2 {
		if e := entry(order, i); e != was {
			out = binary.LittleEndian.AppendUint16(out, e)
		}
	}
	return out
}

// networkFirst puts the firmware's entry that the machine network-booted by at
// the head of its boot order, so that it comes back to be released whatever a
// system on its disk has registered since.
func (d Devices) networkFirst() {
	d.efiVariables()
	const name = efiVars + "/BootOrder" + globalVariable
	order, err := os.ReadFile(name)
	if err != nil {
		return
	}
	current, err := os.ReadFile(efiVars + "/BootCurrent" + globalVariable)
	if err != nil {
		return
	}
	b := currentFirst(order, current)
	if b == nil {
		return
	}
	// A variable is set by one write; the kernel lets this one be changed.
	if err := os.WriteFile(name, b, 0o644); err != nil {
		d.Log.Warn("the firmware's boot order stays as it is: set the network first in its setup", "err", err)
		return
	}
	d.Log.Info("the network is first in the firmware's boot order again", "was", fmt.Sprintf("%x", order), "is", fmt.Sprintf("%x", b))
}
