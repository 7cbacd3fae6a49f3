package wipe

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Opcodes and fields of the NVM Express Base Specification 2.0 (figures 138,
// 275, 276, 303) and struct nvme_passthru_cmd of include/uapi/linux/nvme_ioctl.h.
const (
	ioctlNVMeID    = 0x4e40
	ioctlNVMeAdmin = 0xc0484e41

	opGetLog   = 0x02
	opIdentify = 0x06
	opFormat   = 0x80
	opSanitize = 0x84

	logSanitize = 0x81
	allSpaces   = 0xffffffff

	offOACS    = 256 // 2 bytes; bit 1: Format NVM
	offSANICAP = 328 // 4 bytes; bit 0 crypto erase, 1 block erase, 2 overwrite
	offFNA     = 524 // bit 0: format is of all namespaces, bit 1: erasure is
	offFLBAS   = 26
	offDPS     = 29

	actBlock, actOverwrite, actCrypto = 2, 3, 4

	sanitizeRunning, sanitizeFailed = 2, 3

	adminTimeout  = 10 * time.Second
	formatTimeout = 30 * time.Minute
	sanitizePoll  = 500 * time.Millisecond
)

type nvmeCommand struct {
	opcode, flags                            uint8
	_                                        uint16
	nsid, cdw2, cdw3                         uint32
	metadata, addr                           uint64
	metadataLen, dataLen                     uint32
	cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 uint32
	timeoutMS, result                        uint32
}

// nvme is the controller of a namespace.
type nvme struct {
	ctrl   *os.File
	nsid   uint32
	spaces int // how many namespaces of it the kernel shows
}

// controller opens the controller of the disk, or nil if it is not one that the
// kernel names in the usual way.
func (d *disk) controller() (*nvme, error) {
	m := regexp.MustCompile(`^/dev/(nvme\d+)n\d+$`).FindStringSubmatch(d.path)
	if m == nil {
		return nil, nil
	}
	id, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), ioctlNVMeID, 0)
	if e != 0 {
		return nil, fmt.Errorf("namespace ID of %s: %w", d.path, e)
	}
	siblings, err := filepath.Glob("/sys/block/" + m[1] + "n*")
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile("/dev/"+m[1], os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &nvme{ctrl: f, nsid: uint32(id), spaces: len(siblings)}, nil
}

func (n *nvme) admin(c nvmeCommand, data []byte) error {
	if len(data) > 0 {
		// The kernel gets the address as a number, which keeps nothing in place.
		var pin runtime.Pinner
		pin.Pin(&data[0])
		defer pin.Unpin()
		c.addr, c.dataLen = uint64(uintptr(unsafe.Pointer(&data[0]))), uint32(len(data))
	}
	if c.timeoutMS == 0 {
		c.timeoutMS = uint32(adminTimeout.Milliseconds())
	}
	status, _, e := unix.Syscall(unix.SYS_IOCTL, n.ctrl.Fd(), ioctlNVMeAdmin, uintptr(unsafe.Pointer(&c)))
	if e != 0 {
		return fmt.Errorf("NVMe admin command %#x: %w", c.opcode, e)
	}
	if status != 0 {
		return fmt.Errorf("NVMe admin command %#x: status %#x", c.opcode, status)
	}
	return nil
}

const identifySize, identifyController = 4096, 1

func (n *nvme) identify(what, nsid uint32) ([]byte, error) {
	b := make([]byte, identifySize)
	return b, n.admin(nvmeCommand{opcode: opIdentify, nsid: nsid, cdw10: what}, b)
}

// sanitize erases the whole NVM subsystem; so it is only for one with a single
// namespace.
func (d *disk) sanitize(ctx context.Context) (bool, error) {
	n, err := d.controller()
	if n == nil || err != nil {
		return false, err
	}
	defer n.ctrl.Close()
	id, err := n.identify(identifyController, 0)
	if err != nil {
		return false, err
	}
	action := sanitizeAction(binary.LittleEndian.Uint32(id[offSANICAP:]))
	if action == 0 || n.spaces != 1 {
		return false, nil
	}
	// One that lost its power goes on by itself when that is back, and refuses
	// all else until it has ended.
	if err := d.awaitSanitize(ctx, n); err != nil {
		d.log.Warn("an earlier sanitize operation", "err", err)
	}
	c := nvmeCommand{opcode: opSanitize, cdw10: action}
	if action == actOverwrite {
		c.cdw10 |= 1 << 4 // one pass, of the zero pattern in cdw11
	}
	if err := n.admin(c, nil); err != nil {
		return false, err
	}
	return true, d.awaitSanitize(ctx, n)
}

// sanitizeAction picks from what the controller can.
func sanitizeAction(capabilities uint32) uint32 {
	switch {
	case capabilities&2 != 0:
		return actBlock
	case capabilities&1 != 0:
		return actCrypto
	case capabilities&4 != 0:
		return actOverwrite
	}
	return 0
}

// awaitSanitize polls the Sanitize Status log page until no operation runs; the
// error says that the last one failed.
func (d *disk) awaitSanitize(ctx context.Context, n admin) error {
	for {
		b := make([]byte, 512)
		const dwords = 512/4 - 1
		if err := n.admin(nvmeCommand{opcode: opGetLog, nsid: allSpaces, cdw10: logSanitize | dwords<<16}, b); err != nil {
			return err
		}
		progress, status := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])&7
		switch status {
		case sanitizeFailed:
			return fmt.Errorf("%s: the disk says that its sanitize operation failed", d.path)
		case sanitizeRunning:
			d.progress(d.size / 65536 * int64(progress))
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sanitizePoll):
		}
	}
}

// admin takes NVMe admin commands.
type admin interface {
	admin(c nvmeCommand, data []byte) error
}

// format is Format NVM with user data erase, in the format that the namespace
// has. Where that is of all namespaces it is only for a single one.
func (d *disk) format(context.Context) (bool, error) {
	n, err := d.controller()
	if n == nil || err != nil {
		return false, err
	}
	defer n.ctrl.Close()
	id, err := n.identify(identifyController, 0)
	if err != nil {
		return false, err
	}
	all := id[offFNA]&3 != 0
	if binary.LittleEndian.Uint16(id[offOACS:])&2 == 0 || all && n.spaces != 1 {
		return false, nil
	}
	ns, err := n.identify(0, n.nsid)
	if err != nil {
		return false, err
	}
	c := nvmeCommand{opcode: opFormat, nsid: n.nsid, cdw10: formatWord(ns[offFLBAS], ns[offDPS]), timeoutMS: uint32(formatTimeout.Milliseconds())}
	return true, n.admin(c, nil)
}

// formatWord is command dword 10: the LBA format in bits 3:0 and 13:12, metadata
// setting in 4, protection in 7:5, its place in 8, and user data erase (1) in 11:9.
func formatWord(flbas, dps byte) uint32 {
	f := uint32(flbas)
	return f&0x0f | f&0x60>>5<<12 | f&0x10 | uint32(dps)&7<<5 | uint32(dps)>>3&1<<8 | 1<<9
}
