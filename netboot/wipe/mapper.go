package wipe

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dm_ioctl of the kernel's include/uapi/linux/dm-ioctl.h.
const (
	dmDevRemove = 0xc138fd04 // DM_DEV_REMOVE, _IOWR(0xfd, 4, struct dm_ioctl)
	dmSize      = 312
	dmOffName   = 48
	dmNameLen   = 128
)

// removeMapping removes a device-mapper device: it has no tool of its own, as
// LVM's needs its configuration to be found.
func removeMapping(name string) error {
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if len(name) >= dmNameLen {
		return fmt.Errorf("device-mapper name %q is too long", name)
	}
	var b [dmSize]byte
	binary.NativeEndian.PutUint32(b[0:], 4) // version 4.0.0
	binary.NativeEndian.PutUint32(b[12:], dmSize)
	copy(b[dmOffName:], name)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), dmDevRemove, uintptr(unsafe.Pointer(&b))); e != 0 {
		return fmt.Errorf("remove the device-mapper device %s: %w", name, e)
	}
	return nil
}

func swapoff(path *byte) error {
	if _, _, e := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0); e != 0 {
		return fmt.Errorf("swapoff: %w", e)
	}
	return nil
}
