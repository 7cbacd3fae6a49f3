package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/gantry-pod/gantry/pxe/dhcp"
)

// claims tells whether who asks for a machine's boot script is that machine:
// anyone can write a MAC address into a URL. It must ask from the address that
// DHCP gave that MAC address last, and on the provisioning link the kernel's own
// neighbour entry of that address, which the connection has just used, must have
// that MAC address. So to be another machine one must forge Ethernet frames, which
// port security stops. Of a relay's network only DHCP knows.
type claims struct {
	link netip.Prefix
	// lease is nil where another server gives the addresses.
	lease     func(dhcp.MAC) (dhcp.Lease, bool)
	neighbour func(netip.Addr) (net.HardwareAddr, error)
}

// errNotTheirs says that a claim is refuted, not that it could not be examined.
var errNotTheirs = errors.New("asked from an address that is not this machine's")

// claims examines who asks on the interface called name.
func (c *Config) claims(name string, leases *dhcp.Server) claims {
	out := claims{link: netip.MustParsePrefix(c.Provisioning.Address).Masked(), neighbour: neighbours(name)}
	if !c.DHCP.Proxy {
		out.lease = leases.Lease
	}
	return out
}

func (c claims) check(mac net.HardwareAddr, from netip.Addr) error {
	if len(mac) != 6 {
		return fmt.Errorf("%w: %s is no Ethernet address", errNotTheirs, mac)
	}
	if c.lease != nil {
		// One that waits in its boot loader does not renew its lease: the address
		// is still its own until another is given it.
		l, ok := c.lease(dhcp.MAC(mac))
		if !ok || l.State == dhcp.Declined || l.Addr != from {
			return fmt.Errorf("%w: %s was not given %s by DHCP", errNotTheirs, mac, from)
		}
	}
	if !c.link.Contains(from) {
		if c.lease == nil {
			return fmt.Errorf("%w: %s is not on the provisioning link", errNotTheirs, from)
		}
		return nil
	}
	has, err := c.neighbour(from)
	if err != nil {
		return fmt.Errorf("who has %s: %w", from, err)
	}
	if !bytes.Equal(has, mac) {
		return fmt.Errorf("%w: %s is on the link with MAC address %s, not %s", errNotTheirs, from, has, mac)
	}
	return nil
}

// neighbours looks addresses up in the kernel's neighbour table of an interface.
func neighbours(device string) func(netip.Addr) (net.HardwareAddr, error) {
	return func(a netip.Addr) (net.HardwareAddr, error) {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", device, err)
		}
		// A table that changes while it is read is read in part; what is there is right.
		list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
		for i := range list {
			if got, ok := netip.AddrFromSlice(list[i].IP); ok && got.Unmap() == a && len(list[i].HardwareAddr) > 0 {
				return list[i].HardwareAddr, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("neighbours on %s: %w", device, err)
		}
		return nil, fmt.Errorf("the kernel has no neighbour entry on %s", device)
	}
}
