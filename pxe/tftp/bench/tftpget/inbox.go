package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// inbox is the memory of one recvmmsg(2), which x/sys/unix does not wrap.
type inbox struct {
	packets [64][2048]byte
	iovecs  [64]unix.Iovec
	headers [64]struct { // struct mmsghdr
		hdr unix.Msghdr
		len uint32
		_   [4]byte
	}
}

func newInbox() *inbox {
	b := new(inbox)
	for i := range b.packets {
		b.iovecs[i].Base = &b.packets[i][0]
		b.iovecs[i].SetLen(len(b.packets[i]))
		b.headers[i].hdr = unix.Msghdr{Iov: &b.iovecs[i], Iovlen: 1}
	}
	return b
}

// fill receives up to most packets that wait at a non-blocking, connected socket.
func (b *inbox) fill(fd, most int) (int, error) {
	if most <= 1 {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b.packets[0][0])), uintptr(len(b.packets[0])))
		if errno != 0 {
			return 0, errno
		}
		b.headers[0].len = uint32(n)
		return 1, nil
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
		uintptr(min(most, len(b.headers))), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
