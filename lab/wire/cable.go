package wire

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// AddCable plugs the machine that is a process into a bridge: in the network
// namespace of pid, which must be one of its own, appears the device eth0 with
// that MAC address, which reaches no other machine. The cable goes with the process. name is the bridge's port
// and must not have been used before: the kernel takes its time to remove one.
func (w *Wire) AddCable(name, bridge string, pid int, mac string) error {
	address, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("add cable %s: %w", name, err)
	}
	return w.L2.Do(func() error {
		cable := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0",
			PeerHardwareAddr: address, PeerNamespace: netlink.NsPid(pid),
		}
		if err := netlink.LinkAdd(cable); err != nil {
			return fmt.Errorf("add cable %s: %w", name, err)
		}
		if err := attach(cable, bridge); err != nil {
			return err
		}
		return isolate(cable)
	})
}
