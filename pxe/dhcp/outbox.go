package dhcp

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// headroom is kept before each reply for the IP and UDP headers of a frame that
// we write ourselves.
const headroom = 20 + 8

// replySize is the most that a reply takes, typicalReply what most take.
const (
	replySize    = headroom + maxReply
	typicalReply = headroom + 356
)

// outbox collects replies and sends them in two batches: by UDP, and as frames
// to clients that cannot answer ARP for their address yet.
type outbox struct {
	buf   []byte // the replies one after the other, each with its headroom
	used  int
	dests []dest
	ends  []int // where in buf each reply ends
	n     int

	udp, link       []mmsghdr
	udpTo           []unix.RawSockaddrInet4
	linkTo          []unix.RawSockaddrLinklayer
	udpIov, linkIov []unix.Iovec
}

// newOutbox returns an outbox for n replies of a size together.
func newOutbox(n, size int) *outbox {
	return &outbox{buf: make([]byte, size), dests: make([]dest, n), ends: make([]int, n),
		udp: make([]mmsghdr, n), link: make([]mmsghdr, n),
		udpTo: make([]unix.RawSockaddrInet4, n), linkTo: make([]unix.RawSockaddrLinklayer, n),
		udpIov: make([]unix.Iovec, n), linkIov: make([]unix.Iovec, n)}
}

// fits reports whether n more replies have room, whatever their size.
func (o *outbox) fits(n int) bool {
	return o.n+n <= len(o.dests) && o.used+n*replySize <= len(o.buf)
}

// slot returns where the next reply is to be written.
func (o *outbox) slot() []byte { return o.buf[o.used+headroom : o.used+replySize] }

// add takes the reply of n bytes that was written to the slot.
func (o *outbox) add(n int, to dest) {
	o.used += headroom + n
	o.dests[o.n], o.ends[o.n] = to, o.used
	o.n++
}

func (o *outbox) empty() { o.n, o.used = 0, 0 }

// take copies a reply from elsewhere.
func (o *outbox) take(reply []byte, to dest) { o.add(copy(o.slot(), reply), to) }

// flush sends all replies, datagrams from the socket udp, and empties the
// outbox. It returns how many the kernel did not take, and an error if the
// device is gone: a reply that is lost otherwise is as one lost on the wire.
func (o *outbox) flush(s *sockets, udp int, from uint32, port uint16) (unsent int, err error) {
	nu, nl, start := 0, 0, 0
	for i := range o.n {
		frame := o.buf[start:o.ends[i]]
		start = o.ends[i]
		if to := &o.dests[i]; to.link {
			o.frame(nl, frame, to, s.device.Index(), from, port)
			nl++
		} else {
			o.datagram(nu, frame[headroom:], to)
			nu++
		}
	}
	o.empty()
	a, err1 := sendAll(udp, o.udp[:nu])
	b, err2 := sendAll(s.link, o.link[:nl])
	if err1 == nil {
		err1 = err2
	}
	return a + b, err1
}

func (o *outbox) datagram(i int, b []byte, to *dest) {
	name := &o.udpTo[i]
	name.Family = unix.AF_INET
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.port)
	binary.BigEndian.PutUint32(name.Addr[:], to.addr)
	fill(&o.udp[i], &o.udpIov[i], unsafe.Pointer(name), unix.SizeofSockaddrInet4, b)
}

func (o *outbox) frame(i int, b []byte, to *dest, ifindex int, from uint32, port uint16) {
	ipUDP(b, from, port, to)
	name := &o.linkTo[i]
	name.Family = unix.AF_PACKET
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Protocol))[:], unix.ETH_P_IP)
	name.Ifindex = int32(ifindex)
	name.Halen = 6
	copy(name.Addr[:], to.mac[:])
	fill(&o.link[i], &o.linkIov[i], unsafe.Pointer(name), unix.SizeofSockaddrLinklayer, b)
}

func fill(m *mmsghdr, iov *unix.Iovec, name unsafe.Pointer, namelen uint32, b []byte) {
	iov.Base = &b[0]
	iov.SetLen(len(b))
	m.hdr = unix.Msghdr{Name: (*byte)(name), Namelen: namelen, Iov: iov}
	m.hdr.SetIovlen(1)
}

// ipUDP writes the IPv4 and UDP headers of a frame whose payload is in place.
func ipUDP(b []byte, from uint32, port uint16, to *dest) {
	ip, udp := b[:20], b[20:]
	clear(ip)
	ip[0], ip[1] = 0x45, 0x10 // low delay, as other servers send it
	binary.BigEndian.PutUint16(ip[2:], uint16(len(b)))
	ip[8], ip[9] = 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint32(ip[12:], from)
	binary.BigEndian.PutUint32(ip[16:], to.addr)
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip)))

	binary.BigEndian.PutUint16(udp, port)
	binary.BigEndian.PutUint16(udp[2:], to.port)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], 0)
	c := ^fold(sum(udp) + sum(ip[12:20]) + unix.IPPROTO_UDP + uint64(len(udp)))
	if c == 0 {
		c = 0xffff // zero would say that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], c)
}

// sum adds 16-bit words for the Internet checksum (RFC 1071).
func sum(b []byte) uint64 {
	var s uint64
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// sendAll sends messages without waiting for room. It passes over those that
// the kernel refuses, which do not stand for the rest.
func sendAll(fd int, msgs []mmsghdr) (unsent int, err error) {
	for len(msgs) > 0 {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			msgs = msgs[n:]
		case unix.EINTR:
		case unix.ENODEV, unix.ENXIO:
			return unsent + len(msgs), fmt.Errorf("dhcp: send: %w", errno)
		default:
			unsent++
			msgs = msgs[1:]
		}
	}
	return unsent, nil
}
