// Package device notices when the network interface that sockets are bound to
// (SO_BINDTODEVICE, socket(7)) is not there any more. The kernel binds to the
// interface's number, and says nothing when that ends: a socket of an interface
// that was removed, or removed and made again under its name, only stays silent.
package device

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// every is how often an interface is looked at.
const every = time.Second

// Device is a network interface as it was when it was opened.
type Device struct {
	name   string
	index  int
	socket int // in the network namespace it was opened in, whoever asks later
}

// Open notes which interface has this name now, in the caller's network
// namespace. To be called before sockets are bound, so that Watch sees what
// changes meanwhile. The device is to be closed.
func Open(name string) (*Device, error) {
	d := &Device{name: name}
	var err error
	if d.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("interface %s: socket: %w", name, err)
	}
	if d.index, err = d.now(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Index is the number the interface had when it was opened.
func (d *Device) Index() int { return d.index }

// Watch returns an error when the interface is gone or was made anew, and nil
// when ctx ends.
func (d *Device) Watch(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		index, err := d.now()
		if err == nil && index != d.index {
			err = fmt.Errorf("interface %s was made anew", d.name)
		}
		if err != nil {
			return err
		}
	}
}

// now asks for the number that goes with the name (SIOCGIFINDEX, netdevice(7)).
func (d *Device) now() (int, error) {
	req, err := unix.NewIfreq(d.name)
	if err == nil {
		err = unix.IoctlIfreq(d.socket, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", d.name, err)
	}
	return int(req.Uint32()), nil
}

// Close ends it, when no Watch is running.
func (d *Device) Close() { _ = unix.Close(d.socket) }
