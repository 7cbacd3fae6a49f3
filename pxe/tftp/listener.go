package tftp

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/pxe/internal/device"
)

// listener is the socket that requests come to. All loops wait for it, and one
// of them is woken for each burst of requests.
type listener struct {
	fd     int
	addr   netip.AddrPort
	device *device.Device // nil: any
}

// listen opens the socket, for what comes in on the interface with that name, or
// on any for "".
func listen(addr netip.AddrPort, name string) (*listener, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l := &listener{fd: fd, addr: addr}
	if err := l.setup(family, name); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// setup makes the socket tell which address a request was sent to, and binds it.
func (l *listener) setup(family int, name string) (err error) {
	if name != "" {
		if l.device, err = device.Open(name); err != nil {
			return err
		}
		if err := unix.BindToDevice(l.fd, name); err != nil {
			return fmt.Errorf("bind to %s: %w", name, err)
		}
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if family == unix.AF_INET6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	if err := unix.SetsockoptInt(l.fd, level, option, 1); err != nil {
		return fmt.Errorf("ask for packet information: %w", err)
	}
	// A rack that is switched on asks all at once; the kernel grants what it may.
	_ = unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	if err := unix.Bind(l.fd, sockaddr(l.addr)); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	bound, err := unix.Getsockname(l.fd)
	if err != nil {
		return fmt.Errorf("ask for the socket's address: %w", err)
	}
	l.addr = addrPort(bound)
	return nil
}

func (l *listener) close() {
	_ = unix.Close(l.fd)
	if l.device != nil {
		l.device.Close()
	}
}

// receive takes one request; the error is EAGAIN if there is none.
func (l *listener) receive(packet, oob []byte) (n, oobn int, peer netip.AddrPort, err error) {
	n, oobn, _, from, err := unix.Recvmsg(l.fd, packet, oob, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, 0, netip.AddrPort{}, err
	}
	return n, oobn, addrPort(from), nil
}

// send sends a packet from local, if that is valid, to peer. Nothing waits for
// it: who misses it asks again.
func (l *listener) send(p []byte, local netip.Addr, peer netip.AddrPort) {
	if l.addr.Addr().Is6() && peer.Addr().Is4() {
		peer = netip.AddrPortFrom(netip.AddrFrom16(peer.Addr().As16()), peer.Port())
	}
	_ = unix.Sendmsg(l.fd, p, source(local), sockaddr(peer), unix.MSG_DONTWAIT)
}

// watch returns an error when the interface is no longer what it was.
func (l *listener) watch(ctx context.Context) error {
	if l.device == nil {
		return nil
	}
	return l.device.Watch(ctx)
}

// addrPort converts an address of the system calls, an IPv4 one to its plain form.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && a.Is6() {
			if ifi, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				a = a.WithZone(ifi.Name)
			}
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}
