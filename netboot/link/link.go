// Package link brings up the NIC that the machine booted from and keeps its
// DHCPv4 lease (RFC 2131) for as long as the netboot system runs.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// Keeper holds a lease.
type Keeper struct {
	// Name is the interface's.
	Name string
	// Address is what the lease gave first.
	Address net.IPNet

	log   *slog.Logger
	iface netlink.Link
	lease *nclient4.Lease
}

// Up finds the NIC with the MAC address boot, or any NIC with an answering DHCP
// server if boot is empty, sets it up, and returns with its first lease applied.
// It tries for as long as ctx lives.
func Up(ctx context.Context, boot string, log *slog.Logger) (*Keeper, error) {
	for {
		ifs, err := candidates(boot)
		if err != nil {
			return nil, err
		}
		for _, l := range ifs {
			k, err := acquire(ctx, l, log)
			if err == nil {
				return k, nil
			}
			log.Info("no lease yet", "nic", l.Attrs().Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("bring up the boot NIC %s: %w", boot, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// candidates are the NICs to try: the one with the MAC, or all but loopback.
func candidates(boot string) ([]netlink.Link, error) {
	all, err := netlink.LinkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, nil // asked again
	}
	if err != nil {
		return nil, fmt.Errorf("list NICs: %w", err)
	}
	var out []netlink.Link
	for _, l := range all {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != 6 || l.Type() != "device" {
			continue
		}
		if boot == "" || strings.EqualFold(a.HardwareAddr.String(), boot) {
			out = append(out, l)
		}
	}
	return out, nil
}

// tries of one exchange: the first answers come within milliseconds, or the
// switch port is still closed (spanning tree) or the server busy.
const (
	firstTimeout = 250 * time.Millisecond
	tries        = 4 // 0.25 + 0.5 + 1 + 2 s
)

func acquire(ctx context.Context, l netlink.Link, log *slog.Logger) (*Keeper, error) {
	if err := netlink.LinkSetUp(l); err != nil {
		return nil, err
	}
	k := &Keeper{Name: l.Attrs().Name, log: log, iface: l}
	if err := k.exchange(ctx, nil); err != nil {
		return nil, err
	}
	k.Address = net.IPNet{IP: k.lease.ACK.YourIPAddr, Mask: mask(k.lease.ACK)}
	return k, nil
}

// exchange asks for a lease, or renews the given one, and applies the answer.
func (k *Keeper) exchange(ctx context.Context, old *nclient4.Lease) error {
	c, err := nclient4.New(k.Name, nclient4.WithTimeout(firstTimeout), nclient4.WithRetry(tries))
	if err != nil {
		return err
	}
	defer c.Close()
	var l *nclient4.Lease
	if old != nil {
		l, err = c.Renew(ctx, old)
	} else {
		l, err = c.Request(ctx, dhcpv4.WithOption(dhcpv4.OptClassIdentifier("gantry-netboot")),
			dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionSubnetMask, dhcpv4.OptionDomainNameServer,
				dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU))
	}
	if err != nil {
		return err
	}
	k.lease = l
	return k.apply(l.ACK)
}

// apply gives the NIC the lease's address, route and name servers.
func (k *Keeper) apply(ack *dhcpv4.DHCPv4) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: mask(ack)}}
	if err := netlink.AddrReplace(k.iface, a); err != nil {
		return fmt.Errorf("set the address %s on %s: %w", a, k.Name, err)
	}
	if r := ack.Router(); len(r) > 0 {
		route := &netlink.Route{LinkIndex: k.iface.Attrs().Index, Gw: r[0]}
		if err := netlink.RouteReplace(route); err != nil {
			k.log.Warn("default route refused", "gateway", r[0], "err", err)
		}
	}
	var b strings.Builder
	for _, s := range ack.DNS() {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	return os.WriteFile("/etc/resolv.conf", []byte(b.String()), 0o644)
}

func mask(ack *dhcpv4.DHCPv4) net.IPMask {
	if m := ack.SubnetMask(); m != nil {
		return m
	}
	return ack.YourIPAddr.DefaultMask()
}

// defaultLease is assumed where a server names no time, and minWait keeps a
// server with absurd times from being flooded.
const (
	defaultLease = time.Hour
	minWait      = 5 * time.Second
)

// Keep renews the lease at half its time (RFC 2131 4.4.5), asks anew when that
// fails, and returns when ctx ends.
func (k *Keeper) Keep(ctx context.Context) {
	for {
		wait := max(k.lease.ACK.IPAddressLeaseTime(defaultLease)/2, minWait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := k.exchange(ctx, k.lease)
		if err != nil {
			k.log.Warn("the lease was not renewed; asking for a new one", "nic", k.Name, "err", err)
			err = k.renewAnew(ctx)
		}
		if err != nil {
			k.log.Error("no lease", "nic", k.Name, "err", err)
		}
	}
}

// renewAnew asks any server, and takes the old address away if the new one is
// another.
func (k *Keeper) renewAnew(ctx context.Context) error {
	old := k.lease.ACK
	if err := k.exchange(ctx, nil); err != nil {
		return err
	}
	if now := k.lease.ACK; !now.YourIPAddr.Equal(old.YourIPAddr) {
		return netlink.AddrDel(k.iface, &netlink.Addr{IPNet: &net.IPNet{IP: old.YourIPAddr, Mask: mask(old)}})
	}
	return nil
}
