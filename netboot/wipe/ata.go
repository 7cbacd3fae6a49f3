package wipe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ATA commands of the security feature set (ACS-4, 4.18 and 7.44 ff.), carried
// by ATA PASS-THROUGH (16) (SAT-4, 12.2.3) in SG_IO.
const (
	ataIdentify        = 0xec
	ataSetPassword     = 0xf1
	ataUnlock          = 0xf2
	ataErasePrepare    = 0xf3
	ataEraseUnit       = 0xf4
	ataDisablePassword = 0xf6

	ataSector = 512

	securitySupported = 1 << 0
	securityEnabled   = 1 << 1
	securityLocked    = 1 << 2
	securityFrozen    = 1 << 3
	securityEnhanced  = 1 << 5

	ataTimeout = 15 * time.Second
	// eraseUnknown is for a disk that does not say how long it takes.
	eraseUnknown = 12 * time.Hour
)

// erasePassword locks the disk while it erases itself. Should the power fail
// meanwhile the disk is locked with it, and the next wipe unlocks it.
const erasePassword = "gantry-erase"

// secureErase is SECURITY ERASE UNIT, enhanced if the disk can. A disk that the
// firmware froze, as most do, does not offer it until a power cycle with the
// disk attached later: then other means are used.
func (d *disk) secureErase(context.Context) (bool, error) {
	id, err := d.identifyATA()
	if err != nil {
		return false, nil // behind something that does not pass ATA commands
	}
	s := word(id, 128)
	if s&securitySupported == 0 {
		return false, nil
	}
	if s&securityFrozen != 0 {
		d.log.Info("the firmware froze the disk's security; no secure erase", "disk", d.path)
		return false, nil
	}
	if s&(securityEnabled|securityLocked) != 0 {
		if err := d.unlock(); err != nil {
			return false, fmt.Errorf("%s is locked by a password that is not ours: %w", d.path, err)
		}
	}
	return true, d.eraseUnit(id)
}

func (d *disk) eraseUnit(id []byte) error {
	if err := d.ata(ataSetPassword, passwordBlock(0), ataTimeout); err != nil {
		return err
	}
	option, minutes := uint16(0), word(id, 89)
	if word(id, 128)&securityEnhanced != 0 {
		option, minutes = 2, word(id, 90)
	}
	err := d.ata(ataErasePrepare, nil, ataTimeout)
	if err == nil {
		err = d.ata(ataEraseUnit, passwordBlock(option), eraseTime(minutes))
	}
	if err != nil {
		return errors.Join(err, d.unlock())
	}
	return nil
}

// unlock takes our password away; it is no error if the disk is open already.
func (d *disk) unlock() error {
	_ = d.ata(ataUnlock, passwordBlock(0), ataTimeout)
	return d.ata(ataDisablePassword, passwordBlock(0), ataTimeout)
}

// eraseTime is twice what words 89 and 90 of IDENTIFY DEVICE say: units of two
// minutes, in 8 bits or, if bit 15 is set, in 15; the largest means more.
func eraseTime(w uint16) time.Duration {
	n, most := w&0xff, uint16(0xff)
	if w&0x8000 != 0 {
		n, most = w&0x7fff, 0x7fff
	}
	if n == 0 || n == most {
		return eraseUnknown
	}
	return 2 * 2 * time.Minute * time.Duration(n)
}

// passwordBlock is the data of the security commands: the control word (bit 0:
// user password; bit 1: enhanced erase) and 32 bytes of password.
func passwordBlock(control uint16) []byte {
	b := make([]byte, ataSector)
	binary.LittleEndian.PutUint16(b, control)
	copy(b[2:34], erasePassword)
	return b
}

func word(id []byte, n int) uint16 { return binary.LittleEndian.Uint16(id[2*n:]) }

func (d *disk) identifyATA() ([]byte, error) {
	b := make([]byte, ataSector)
	return b, d.sg(passThrough(ataIdentify, fromDevice), b, sgFromDevice, ataTimeout)
}

func (d *disk) ata(command byte, data []byte, timeout time.Duration) error {
	if data == nil {
		return d.sg(passThrough(command, noData), nil, sgNoData, timeout)
	}
	return d.sg(passThrough(command, toDevice), data, sgToDevice, timeout)
}

type direction int

const (
	noData direction = iota
	fromDevice
	toDevice
)

// passThrough makes the command block: protocol in byte 1, and that one block of
// 512 bytes is moved, as the sector count says, in byte 2.
func passThrough(command byte, dir direction) [16]byte {
	const nonData, pioIn, pioOut = 3, 4, 5
	const tLengthCount, byteBlock, fromDev, checkCondition = 2, 1 << 2, 1 << 3, 1 << 5
	c := [16]byte{0: 0x85, 14: command}
	switch dir {
	case fromDevice:
		c[1], c[2], c[6] = pioIn<<1, tLengthCount|byteBlock|fromDev, 1
	case toDevice:
		c[1], c[2], c[6] = pioOut<<1, tLengthCount|byteBlock, 1
	default:
		c[1], c[2] = nonData<<1, checkCondition
	}
	return c
}

// sg_io_hdr of include/scsi/sg.h.
type sgHeader struct {
	interfaceID, direction           int32
	cmdLen, senseLen                 uint8
	iovecs                           uint16
	dataLen                          uint32
	data, cmd, sense                 uintptr
	timeoutMS, flags                 uint32
	packID                           int32
	_                                uint32
	user                             uintptr
	status, maskedStatus, msg, sbLen uint8
	host, driver                     uint16
	resid                            int32
	duration, info                   uint32
}

const (
	ioctlSG      = 0x2285
	sgNoData     = -1
	sgToDevice   = -2
	sgFromDevice = -3

	statusCheckCondition = 2
)

// sg sends one command and waits for its end.
func (d *disk) sg(cmd [16]byte, data []byte, dir int32, timeout time.Duration) error {
	var sense [32]byte
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&cmd)
	pin.Pin(&sense)
	h := sgHeader{interfaceID: 'S', direction: dir, cmdLen: 16, senseLen: uint8(len(sense)),
		cmd: uintptr(unsafe.Pointer(&cmd)), sense: uintptr(unsafe.Pointer(&sense)), timeoutMS: uint32(timeout.Milliseconds())}
	if len(data) > 0 {
		pin.Pin(&data[0])
		h.data, h.dataLen = uintptr(unsafe.Pointer(&data[0])), uint32(len(data))
	}
	if err := ioctlArg(d.Fd(), ioctlSG, unsafe.Pointer(&h)); err != nil {
		return fmt.Errorf("ATA command %#x to %s: %w", cmd[14], d.path, err)
	}
	return ataStatus(cmd[14], h.status, h.host, sense)
}

// ataStatus finds the ATA status register in the sense data's descriptor (SAT-4
// 12.2.6), where one is asked for or something went wrong.
func ataStatus(command, status uint8, host uint16, sense [32]byte) error {
	if status == 0 && host == 0 {
		return nil
	}
	const descriptor, ataReturn, statusErr, statusFault = 0x72, 0x09, 1, 0x20
	if status == statusCheckCondition && sense[0]&0x7f == descriptor && sense[8] == ataReturn {
		if st := sense[21]; st&(statusErr|statusFault) == 0 {
			return nil
		}
		return fmt.Errorf("ATA command %#x: the disk refused it, error register %#x, status %#x", command, sense[11], sense[21])
	}
	return fmt.Errorf("ATA command %#x: SCSI status %#x, host status %#x: %w", command, status, host, unix.EIO)
}
