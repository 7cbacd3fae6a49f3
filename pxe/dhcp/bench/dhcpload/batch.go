package main

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is recvmmsg's and sendmmsg's element.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

const slotLen = 1024

// batch moves packets in batches: to one address, or from anyone.
type batch struct {
	msgs []mmsghdr
	iovs []unix.Iovec
	bufs []byte
	to   unix.RawSockaddrInet4
}

func newBatch(n int, to *netip.AddrPort) *batch {
	b := &batch{msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), bufs: make([]byte, n*slotLen)}
	for i := range b.msgs {
		b.iovs[i].Base = &b.bufs[i*slotLen]
		b.msgs[i].hdr.Iov = &b.iovs[i]
		b.msgs[i].hdr.SetIovlen(1)
		b.iovs[i].SetLen(slotLen)
		if to != nil {
			b.iovs[i].SetLen(packetLen)
			b.msgs[i].hdr.Name, b.msgs[i].hdr.Namelen = (*byte)(unsafe.Pointer(&b.to)), unix.SizeofSockaddrInet4
		}
	}
	if to != nil {
		port := to.Port()
		b.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: to.Addr().As4()}
	}
	return b
}

func (b *batch) slot(i int) []byte {
	return b.bufs[i*slotLen : i*slotLen+packetLen : i*slotLen+packetLen]
}
func (b *batch) packet(i int) []byte { return b.bufs[i*slotLen : i*slotLen+int(b.msgs[i].n)] }

// send sends the first n slots, waiting for room.
func (b *batch) send(fd, n int) error {
	for done := 0; done < n; {
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.msgs[done])), uintptr(n-done), 0, 0, 0)
		switch errno {
		case 0:
			done += int(k)
		case unix.EAGAIN:
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 10); err != nil && err != unix.EINTR {
				return fmt.Errorf("poll: %w", err)
			}
		case unix.EINTR:
		case unix.ECONNREFUSED: // an ICMP of an earlier packet
		default:
			return fmt.Errorf("send: %w", errno)
		}
	}
	return nil
}

// receive takes what is there.
func (b *batch) receive(fd int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(len(b.msgs)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, fmt.Errorf("receive: %w", errno)
}
