package tftp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of one segmented send: the length of a UDP datagram over IPv4, and
// UDP_MAX_SEGMENTS of kernels before 6.9.
const (
	maxDatagram = 65507
	maxSegments = 64
)

// firstBurst is how many packets of a window leave first: small, so that the
// client starts on them while we hand the kernel the rest.
const firstBurst = 16

// socket is a transfer's UDP socket, connected to its client. It is used by
// one goroutine at a time.
type socket struct {
	fd     int
	stride int  // bytes of a full packet, once set
	gso    bool // UDP_SEGMENT is set to stride
	batch  *batch
}

// dial opens a socket from local (any port) to peer. fragment permits IP
// fragments; without it packets carry DF.
func dial(local netip.Addr, peer netip.AddrPort, device string, fragment bool) (*socket, error) {
	family := unix.AF_INET
	if peer.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.setup(local, peer, device, fragment); err != nil {
		s.close()
		return nil, fmt.Errorf("transfer socket to %v: %w", peer, err)
	}
	return s, nil
}

func (s *socket) setup(local netip.Addr, peer netip.AddrPort, device string, fragment bool) error {
	if device != "" {
		if err := unix.BindToDevice(s.fd, device); err != nil {
			return fmt.Errorf("bind to %s: %w", device, err)
		}
	}
	if err := s.discoverMTU(peer.Addr().Is6(), fragment); err != nil {
		return fmt.Errorf("set path MTU discovery: %w", err)
	}
	if local.IsValid() && !local.IsUnspecified() {
		if err := unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
			return fmt.Errorf("bind %v: %w", local, err)
		}
	}
	if err := unix.Connect(s.fd, sockaddr(peer)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// discoverMTU sets whether the kernel may fragment what this socket sends.
func (s *socket) discoverMTU(v6, fragment bool) error {
	how := unix.IP_PMTUDISC_DO
	if fragment {
		how = unix.IP_PMTUDISC_DONT
	}
	if v6 {
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, how)
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, how)
}

// payload is the largest UDP payload that goes to the peer in one frame, by
// what the kernel knows of the path.
func (s *socket) payload(v6 bool) (int, error) {
	level, name, overhead := unix.IPPROTO_IP, unix.IP_MTU, 20+8
	if v6 {
		level, name, overhead = unix.IPPROTO_IPV6, unix.IPV6_MTU, 40+8
	}
	mtu, err := unix.GetsockoptInt(s.fd, level, name)
	if err != nil {
		return 0, fmt.Errorf("path MTU: %w", err)
	}
	return mtu - overhead, nil
}

// segment prepares for packets of stride bytes; with offload only if gso.
func (s *socket) segment(stride int, gso bool) {
	s.stride = stride
	s.gso = gso && unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT, stride) == nil
}

// send sends packets that lie stride apart, the last possibly shorter. It
// returns how many bytes of whole packets the kernel took; the error is EAGAIN
// when the socket's buffer is full.
func (s *socket) send(packets []byte) (int, error) {
	done, burst := 0, firstBurst
	for done < len(packets) {
		n := min(burst, maxSegments, max(1, maxDatagram/s.stride))
		m, err := s.sendChunk(packets[done:min(done+n*s.stride, len(packets))])
		done += m
		if err != nil {
			return done, err
		}
		burst = maxSegments
	}
	return done, nil
}

// sendWhole sends one packet of any length, which offload would cut at stride.
func (s *socket) sendWhole(p []byte) error {
	if s.gso && len(p) > s.stride {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0)
		defer func() { _ = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT, s.stride) }()
	}
	_, err := rawWrite(s.fd, p)
	if s.gso && cannotSegment(err) {
		s.gso = false
		_ = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0)
		_, err = rawWrite(s.fd, p)
	}
	return err
}

// sendChunk sends what one system call can take.
func (s *socket) sendChunk(chunk []byte) (int, error) {
	if len(chunk) > s.stride && !s.gso {
		return s.sendEach(chunk)
	}
	n, err := rawWrite(s.fd, chunk)
	if s.gso && cannotSegment(err) {
		s.gso = false
		_ = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0)
		return s.sendChunk(chunk)
	}
	return max(n, 0), err
}

// cannotSegment recognises the kernel's refusals of offload: the device has no
// checksum offload (EIO), a tunnel is in the way (EIO, EOPNOTSUPP), or packets
// need fragments as well (EINVAL, EMSGSIZE). Packet by packet it may work.
func cannotSegment(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) ||
		errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EMSGSIZE)
}

// batch is the memory of a sendmmsg call.
type batch struct {
	headers [maxSegments]mmsghdr
	iovecs  [maxSegments]unix.Iovec
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// sendEach sends by sendmmsg(2), which x/sys/unix does not wrap.
func (s *socket) sendEach(chunk []byte) (int, error) {
	if s.batch == nil {
		s.batch = new(batch)
	}
	b, n := s.batch, 0
	for at := 0; at < len(chunk); at += s.stride {
		p := chunk[at:min(at+s.stride, len(chunk))]
		b.iovecs[n].Base = &p[0]
		b.iovecs[n].SetLen(len(p))
		b.headers[n].hdr = unix.Msghdr{Iov: &b.iovecs[n], Iovlen: 1}
		n++
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&b.headers[0])), uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if int(sent) < n { // the error comes with the next call
		return int(sent) * s.stride, unix.EAGAIN
	}
	return len(chunk), nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// sockaddr converts an address for the system calls.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	sa := &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	if zone := a.Addr().Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa
}
