package httpboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/pxe/internal/device"
)

// Listen opens a TCP listener for what comes in on one interface
// (SO_BINDTODEVICE): an address alone is answered on every interface, as Linux
// takes it for the host's. A listener hears nothing of an interface that goes
// away: then, and when another takes its name, Accept fails, and Listen is to be
// called again. The interface need not have the address yet.
func Listen(ctx context.Context, addr netip.AddrPort, name string) (net.Listener, error) {
	dev, err := device.Open(name)
	if err != nil {
		return nil, fmt.Errorf("httpboot: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctrl := c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), name), unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
		})
		return errors.Join(ctrl, err)
	}}
	inner, err := lc.Listen(ctx, "tcp4", addr.String())
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("httpboot: port %d on %s: %w", addr.Port(), name, err)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &deviceListener{Listener: inner, stop: stop}
	go l.watch(watching, dev)
	return l, nil
}

type deviceListener struct {
	net.Listener
	stop context.CancelFunc
	lost atomic.Pointer[error] // why Accept fails, if not for Close
}

// watch closes the listener when its interface is no longer what it was.
func (l *deviceListener) watch(ctx context.Context, dev *device.Device) {
	defer dev.Close()
	if err := dev.Watch(ctx); err != nil {
		err = fmt.Errorf("httpboot: %w", err)
		l.lost.Store(&err)
		_ = l.Close()
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
	l.stop()
	return l.Listener.Close()
}
