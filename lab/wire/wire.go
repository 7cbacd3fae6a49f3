package wire

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Wire is one pod's network. Its methods may be called from any goroutine.
type Wire struct {
	// L2 holds the bridges, the machines' taps and the PDU.
	L2 *Namespace
	// App is the appliance's.
	App *Namespace
}

// Names returns the names of the two namespaces of a lab.
func Names(lab string) (l2, app string) {
	return "gl-" + lab + "-wire", "gl-" + lab + "-app"
}

// Build makes the network of the lab of that name. It needs root. On an error
// nothing is left behind; [os.ErrExist] if the namespaces exist already.
func Build(ctx context.Context, lab string) (_ *Wire, err error) {
	l2Name, appName := Names(lab)
	w := &Wire{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build the wire: %w", err), w.Close(context.WithoutCancel(ctx)))
		}
	}()
	if w.L2, err = createNamespace(ctx, l2Name); err != nil {
		return nil, err
	}
	if w.App, err = createNamespace(ctx, appName); err != nil {
		return nil, err
	}
	if err := w.L2.Do(func() error { return buildL2(appName) }); err != nil {
		return nil, err
	}
	return w, w.App.Do(buildApp)
}

// buildL2 makes the bridges and the cables to the appliance, whose far ends it
// puts into the namespace named app.
func buildL2(app string) error {
	peer, err := netns.GetFromName(app)
	if err != nil {
		return err
	}
	defer peer.Close()
	for bridge, port := range map[string]string{Prov: AppProv, Mgmt: AppMgmt} {
		if err := addBridge(bridge); err != nil {
			return err
		}
		cable := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: "app-" + bridge},
			PeerName:      port,
			PeerNamespace: netlink.NsFd(peer),
		}
		if err := netlink.LinkAdd(cable); err != nil {
			return fmt.Errorf("add cable %s: %w", cable.Name, err)
		}
		if err := attach(cable, bridge); err != nil {
			return err
		}
	}
	return errors.Join(up("lo"), addAddr(Mgmt, PDUAddr))
}

// buildApp finishes the appliance's side. The provisioning interface gets no
// address: that is the appliance's own work, see [Wire.AddressApp].
func buildApp() error {
	return errors.Join(up("lo"), up(AppProv), up(AppMgmt), addAddr(AppMgmt, ApplianceMgmt))
}

// AddressApp gives the appliance's provisioning interface its address, for a
// lab in which no appliance does so.
func (w *Wire) AddressApp() error {
	return w.App.Do(func() error { return addAddr(AppProv, ApplianceProv) })
}

// Close removes the namespaces with all that is in them. Processes that still
// run in them, and that were started by [Namespace.Start], are killed.
func (w *Wire) Close(ctx context.Context) error {
	var errs []error
	for _, ns := range []*Namespace{w.App, w.L2} {
		if ns != nil {
			ns.close()
			errs = append(errs, DeleteNamespace(ctx, ns.name))
		}
	}
	return errors.Join(errs...)
}

// addBridge makes a bridge that forwards at once and all it gets, and sets it up.
// Without multicast snooping IPv6 neighbour discovery needs no querier.
func addBridge(name string) error {
	off := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &off}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	return up(name)
}

// attach makes link a port of a bridge and sets it up.
func attach(link netlink.Link, bridge string) error {
	name := link.Attrs().Name
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("attach %s: bridge %s: %w", name, bridge, err)
	}
	if err := netlink.LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("attach %s to %s: %w", name, bridge, err)
	}
	return up(name)
}

// isolate makes link a port that reaches the appliance and the bridge itself but
// no other isolated port, as a switch with port isolation or a private VLAN does:
// machines need nothing of each other, and each may be another customer's.
func isolate(link netlink.Link) error {
	if err := netlink.LinkSetIsolated(link, true); err != nil {
		return fmt.Errorf("isolate %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// up sets a device up.
func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// addAddr gives a device an address in CIDR form.
func addAddr(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("address %s: %w", name, err)
	}
	ip, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return fmt.Errorf("address %s: %w", name, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: network.Mask}}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("address %s with %s: %w", name, cidr, err)
	}
	return nil
}
