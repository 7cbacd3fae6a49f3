package tftp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often the interface is looked at that the sockets are bound to.
const watchEvery = time.Second

// listener is the socket that requests come to. All loops wait for it, and one
// of them is woken for each burst of requests.
type listener struct {
	fd     int
	addr   netip.AddrPort
	device string // "": any
	index  int    // of device
}

func listen(addr netip.AddrPort, device string) (*listener, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l := &listener{fd: fd, addr: addr, device: device}
	if err := l.setup(family); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// setup makes the socket tell which address a request was sent to, and binds it.
func (l *listener) setup(family int) (err error) {
	if l.device != "" {
		if l.index, err = interfaceIndex(l.device); err != nil {
			return err
		}
		if err := unix.BindToDevice(l.fd, l.device); err != nil {
			return fmt.Errorf("bind to %s: %w", l.device, err)
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

func (l *listener) close() { _ = unix.Close(l.fd) }

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

// watch returns an error when the interface is gone or was made anew: the
// kernel binds to its number, and says nothing when that ends.
func (l *listener) watch(ctx context.Context) error {
	if l.device == "" {
		return nil
	}
	for sleep(ctx, watchEvery) {
		index, err := interfaceIndex(l.device)
		if err == nil && index != l.index {
			err = fmt.Errorf("interface %s was made anew", l.device)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func interfaceIndex(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return ifi.Index, nil
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
