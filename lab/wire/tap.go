package wire

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// AddTap makes a tap device in the L2 namespace and plugs it into a bridge, for
// a machine's NIC. It has no carrier until a process opens it, and reaches no
// other machine.
func (w *Wire) AddTap(name, bridge string) error {
	if len(name) > 15 {
		return fmt.Errorf("tap %s: longer than the 15 characters of an interface name", name)
	}
	return w.L2.Do(func() error {
		tap := &netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: name},
			Mode:      netlink.TUNTAP_MODE_TAP,
			Flags:     netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
			Queues:    1,
		}
		if err := netlink.LinkAdd(tap); err != nil {
			return fmt.Errorf("add tap %s: %w", name, err)
		}
		closeAll(tap.Fds) // the device is persistent
		if err := attach(tap, bridge); err != nil {
			return err
		}
		return isolate(tap)
	})
}

// SetPlugged connects or disconnects a tap's cable: no frame passes a
// disconnected one in either direction.
func (w *Wire) SetPlugged(tap string, plugged bool) error {
	return w.L2.Do(func() error {
		if plugged {
			return up(tap)
		}
		link, err := netlink.LinkByName(tap)
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			return fmt.Errorf("unplug %s: %w", tap, err)
		}
		return nil
	})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
