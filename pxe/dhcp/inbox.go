package dhcp

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is recvmmsg's and sendmmsg's element (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// inbox receives packets in batches.
type inbox struct {
	msgs  []mmsghdr
	names []unix.RawSockaddrInet4
	iovs  []unix.Iovec
	bufs  []byte
}

// packetSize is the most of a packet that is read: no DHCP client sends more
// than a frame.
const packetSize = 1536

func newInbox(n int) *inbox {
	in := &inbox{msgs: make([]mmsghdr, n), names: make([]unix.RawSockaddrInet4, n), iovs: make([]unix.Iovec, n), bufs: make([]byte, n*packetSize)}
	for i := range in.msgs {
		in.iovs[i].Base = &in.bufs[i*packetSize]
		in.iovs[i].SetLen(packetSize)
		in.msgs[i].hdr.Iov = &in.iovs[i]
		in.msgs[i].hdr.SetIovlen(1)
		in.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&in.names[i]))
	}
	return in
}

// receive takes what is there, without waiting, and returns how many packets.
func (in *inbox) receive(fd int) (int, error) {
	for i := range in.msgs {
		in.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.msgs[0])), uintptr(len(in.msgs)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("dhcp: receive: %w", errno)
}

// packet returns packet i of the last receive and where it came from.
func (in *inbox) packet(i int) ([]byte, netip.AddrPort) {
	name := &in.names[i]
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	src := netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(port[0])<<8|uint16(port[1]))
	return in.bufs[i*packetSize : i*packetSize+int(in.msgs[i].n)], src
}
