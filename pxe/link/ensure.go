package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Marks in ifalias (the kernel's IFLA_IFALIAS).
const (
	markInterface = "gantry"          // we created this interface
	markAddress   = "gantry address " // and the address: it was put here by us
)

// Ensure makes the interface as spec declares it and returns it. It changes
// only what differs. An error names the interface and what to do; what had
// been done before it stays, and the next Ensure goes on from there.
func Ensure(ctx context.Context, spec Spec) (Link, error) {
	if err := spec.Validate(); err != nil {
		return Link{}, err
	}
	e := ensurer{spec: spec}
	var l netlink.Link
	for _, step := range []func() error{
		func() (err error) { l, err = e.find(); return err },
		func() error { return e.mtu(l) },
		func() error { return e.up(l) },
		func() error { return e.address(l) },
	} {
		if err := ctx.Err(); err != nil {
			return Link{}, fmt.Errorf("provisioning link %s: %w", spec.Name(), err)
		}
		if err := step(); err != nil {
			return Link{}, fmt.Errorf("provisioning link %s: %w", spec.Name(), err)
		}
	}
	l, err := netlink.LinkByIndex(l.Attrs().Index)
	if err != nil {
		return Link{}, fmt.Errorf("provisioning link %s went away: %w", spec.Name(), err)
	}
	a := l.Attrs()
	return Link{Name: a.Name, Index: a.Index, MAC: a.HardwareAddr, MTU: a.MTU, Address: spec.Address,
		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, Ours: a.Alias == markInterface, Changes: e.changes}, nil
}

// ensurer is one run of Ensure.
type ensurer struct {
	spec    Spec
	changes []string
}

func (e *ensurer) did(format string, args ...any) {
	e.changes = append(e.changes, fmt.Sprintf(format, args...))
}

// find returns the interface, creating it if it is a VLAN.
func (e *ensurer) find() (netlink.Link, error) {
	if e.spec.Device != "" {
		l, err := byName(e.spec.Device)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", e.spec.Device, err)
		}
		return l, nil
	}
	parent, err := byName(e.spec.Parent)
	if err != nil {
		return nil, fmt.Errorf("parent %s: %w", e.spec.Parent, err)
	}
	if err := e.up(parent); err != nil { // a VLAN has no carrier while its parent is down
		return nil, err
	}
	l, err := byName(e.spec.Name())
	if err == nil {
		if l, err = e.accept(l, parent); l != nil || err != nil {
			return l, err
		}
	} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, err
	}
	return e.create(parent)
}

// accept takes an interface that has our name: if it is our VLAN; if it is an
// outdated one of ours it is deleted, and nil returned; else it is refused.
func (e *ensurer) accept(l, parent netlink.Link) (netlink.Link, error) {
	v, ok := l.(*netlink.Vlan)
	if ok && v.VlanId == e.spec.VLAN && v.ParentIndex == parent.Attrs().Index && v.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q {
		return l, nil
	}
	if !ok || l.Attrs().Alias != markInterface {
		return nil, fmt.Errorf("an interface of this name exists and is not VLAN %d of %s; rename or remove it", e.spec.VLAN, e.spec.Parent)
	}
	if err := netlink.LinkDel(l); err != nil {
		return nil, fmt.Errorf("delete outdated VLAN: %w", err)
	}
	e.did("deleted an outdated VLAN interface")
	return nil, nil
}

func (e *ensurer) create(parent netlink.Link) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = e.spec.Name(), parent.Attrs().Index
	v := &netlink.Vlan{LinkAttrs: attrs, VlanId: e.spec.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	err := netlink.LinkAdd(v)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("create VLAN %d of %s: the kernel has no 802.1Q support: load its module with \"modprobe 8021q\": %w", e.spec.VLAN, e.spec.Parent, err)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("create VLAN %d of %s: needs the capability CAP_NET_ADMIN: %w", e.spec.VLAN, e.spec.Parent, err)
	case errors.Is(err, unix.EEXIST):
		return nil, fmt.Errorf("create VLAN %d of %s: it exists under another name; remove that interface: %w", e.spec.VLAN, e.spec.Parent, err)
	case err != nil:
		return nil, fmt.Errorf("create VLAN %d of %s: %w", e.spec.VLAN, e.spec.Parent, err)
	}
	l, err := byName(e.spec.Name())
	if err != nil {
		return nil, err
	}
	// Should we die before this, the interface is taken as it is by the next
	// Ensure, and outlives Remove: a leftover, but never another's deletion.
	if err := netlink.LinkSetAlias(l, markInterface); err != nil {
		return nil, fmt.Errorf("mark as ours: %w", err)
	}
	l.Attrs().Alias = markInterface
	e.did("created VLAN %d of %s", e.spec.VLAN, e.spec.Parent)
	return l, nil
}

func (e *ensurer) mtu(l netlink.Link) error {
	if e.spec.MTU == 0 || l.Attrs().MTU == e.spec.MTU {
		return nil
	}
	err := netlink.LinkSetMTU(l, e.spec.MTU)
	switch {
	case err != nil && e.spec.Parent != "":
		return fmt.Errorf("set MTU %d (no more than the MTU of %s is possible): %w", e.spec.MTU, e.spec.Parent, err)
	case err != nil:
		return fmt.Errorf("set MTU %d: %w", e.spec.MTU, err)
	}
	e.did("set MTU %d, was %d", e.spec.MTU, l.Attrs().MTU)
	return nil
}

func (e *ensurer) up(l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
	}
	e.did("set %s up", l.Attrs().Name)
	return nil
}

func (e *ensurer) address(l netlink.Link) error {
	has, err := hasAddress(l, e.spec.Address)
	if err != nil || has {
		return err
	}
	if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: ipNet(e.spec.Address)}); err != nil {
		return fmt.Errorf("add address %v: %w", e.spec.Address, err)
	}
	e.did("added address %v", e.spec.Address)
	if l.Attrs().Alias != "" { // ours as a whole, or an administrator's text
		return nil
	}
	if err := netlink.LinkSetAlias(l, markAddress+e.spec.Address.String()); err != nil {
		return fmt.Errorf("mark address as ours: %w", err)
	}
	return nil
}

// Remove takes back what Ensure made for spec: the VLAN interface that it
// created, or the address that it added to a device. What is not marked as
// ours, or not there, is left alone.
func Remove(ctx context.Context, spec Spec) error {
	if err := errors.Join(spec.Validate(), ctx.Err()); err != nil {
		return err
	}
	l, err := byName(spec.Name())
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = removeMarked(l, spec)
	}
	if err != nil {
		return fmt.Errorf("remove provisioning link %s: %w", spec.Name(), err)
	}
	return nil
}

func removeMarked(l netlink.Link, spec Spec) error {
	switch l.Attrs().Alias {
	case markInterface:
		return netlink.LinkDel(l)
	case markAddress + spec.Address.String():
		err := netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(spec.Address)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("address %v: %w", spec.Address, err)
		}
		return netlink.LinkSetAlias(l, "")
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// attempts is how often a dump that the kernel says was inconsistent, because
// something changed while it ran, is taken again.
const attempts = 10

func byName(name string) (l netlink.Link, err error) {
	for range attempts {
		if l, err = netlink.LinkByName(name); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return l, err
		}
	}
	return nil, err
}

func hasAddress(l netlink.Link, want netip.Prefix) (bool, error) {
	var addrs []netlink.Addr
	var err error
	for range attempts {
		if addrs, err = netlink.AddrList(l, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.IPNet != nil && a.IPNet.String() == ipNet(want).String() {
			return true, nil
		}
	}
	return false, nil
}
