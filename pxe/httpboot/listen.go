package httpboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often a listener looks whether its interface is still there.
const watchEvery = time.Second

// Listen opens a TCP listener for what comes in on one interface
// (SO_BINDTODEVICE): an address alone is answered on every interface, as Linux
// takes it for the host's. A listener hears nothing of an interface that goes
// away: then, and when another takes its name, Accept fails, and Listen is to be
// called again. The interface need not have the address yet.
func Listen(ctx context.Context, addr netip.AddrPort, device string) (net.Listener, error) {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("httpboot: interface %s: %w", device, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctrl := c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), device), unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
		})
		return errors.Join(ctrl, err)
	}}
	inner, err := lc.Listen(ctx, "tcp4", addr.String())
	if err != nil {
		return nil, fmt.Errorf("httpboot: port %d on %s: %w", addr.Port(), device, err)
	}
	l := &deviceListener{Listener: inner, closed: make(chan struct{})}
	go l.watch(device, ifi.Index)
	return l, nil
}

type deviceListener struct {
	net.Listener
	closed chan struct{}
	once   atomic.Bool
	lost   atomic.Pointer[error] // why Accept fails, if not for Close
}

// watch closes the listener when its interface is no longer what it was.
func (l *deviceListener) watch(device string, index int) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-tick.C:
		}
		ifi, err := net.InterfaceByName(device)
		if err == nil && ifi.Index == index {
			continue
		}
		if err == nil {
			err = errors.New("was made anew")
		}
		err = fmt.Errorf("httpboot: interface %s: %w", device, err)
		l.lost.Store(&err)
		l.Close()
		return
	}
}

// Accept implements net.Listener.
func (l *deviceListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		if lost := l.lost.Load(); lost != nil {
			return nil, *lost
		}
	}
	return c, err
}

// Close implements net.Listener.
func (l *deviceListener) Close() error {
	if l.once.CompareAndSwap(false, true) {
		close(l.closed)
	}
	return l.Listener.Close()
}
