package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// nic is the machine's one network interface.
const nic = "eth0"

// lease is what DHCP gave.
type lease struct{ script string }

// linkUp switches the NIC and the loopback on.
func linkUp() error {
	for _, name := range []string{"lo", nic} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// network asks for an address as the firmware's PXE does (RFC 4578), which gets
// a boot loader, and again as that loader, iPXE, does, which gets a script.
func (m *machine) network(ctx context.Context) (lease, error) {
	pxe := dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"))
	if _, err := m.ask(ctx, pxe); err != nil {
		return lease{}, fmt.Errorf("firmware: %w", err)
	}
	m.pause(ctx, 100*time.Millisecond)
	ack, err := m.ask(ctx, pxe, dhcpv4.WithOption(dhcpv4.OptUserClass("iPXE")))
	if err != nil {
		return lease{}, fmt.Errorf("iPXE: %w", err)
	}
	if ack.BootFileName == "" {
		return lease{}, errors.New("iPXE: DHCP names no boot script")
	}
	return lease{ack.BootFileName}, m.address(ack)
}

// ask is one exchange from DISCOVER to ACK.
func (m *machine) ask(ctx context.Context, with ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := nclient4.New(nic, nclient4.WithTimeout(time.Second), nclient4.WithRetry(5))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	l, err := c.Request(ctx, append(with, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 0})))...)
	if err != nil {
		return nil, err
	}
	return l.ACK, nil
}

// address takes the address of a lease.
func (m *machine) address(ack *dhcpv4.DHCPv4) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	old, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	want := &netlink.Addr{IPNet: netlink.NewIPNet(ack.YourIPAddr)}
	want.IPNet.Mask = ack.SubnetMask()
	for _, a := range old {
		if !a.IP.Equal(ack.YourIPAddr) {
			if err := netlink.AddrDel(link, &a); err != nil {
				return err
			}
		}
	}
	return netlink.AddrReplace(link, want)
}
