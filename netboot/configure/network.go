package configure

import (
	"fmt"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// port is a NIC with all that is configured on it, as every network system wants
// it in one place.
type port struct {
	// name is one that the kernel never gives: net0, net1, ... in the order of the
	// configuration.
	name, mac string
	mtu       int
	untagged  *job.NIC // nil: it only carries the tagged ones
	tagged    []job.NIC
}

// ports sorts the configuration by NIC.
func ports(nics []job.NIC) []port {
	var all []port
	at := map[string]int{} // by MAC
	for _, n := range nics {
		mac := lower(n.MAC)
		i, ok := at[mac]
		if !ok {
			i = len(all)
			at[mac] = i
			all = append(all, port{name: fmt.Sprintf("net%d", i), mac: mac})
		}
		p := &all[i]
		p.mtu = max(p.mtu, n.MTU) // a tagged frame has to fit the NIC's
		if n.VLAN == 0 {
			p.untagged = &n
		} else {
			p.tagged = append(p.tagged, n)
		}
	}
	return all
}

// vlanName is that of a tagged interface on the port: net0.40.
func (p port) vlanName(n job.NIC) string { return fmt.Sprintf("%s.%d", p.name, n.VLAN) }

// network writes the configuration for the system that the image uses, which is
// told by what is enabled in it.
func (im *image) network() error {
	im.result.Network = im.networkSystem()
	if len(im.config.NICs) == 0 {
		return nil
	}
	var err error
	switch im.result.Network {
	case "netplan":
		err = im.netplan()
	case "systemd-networkd":
		err = im.networkd()
	case "NetworkManager":
		err = im.networkManager()
	case "ifupdown":
		err = im.ifupdown()
	case "cloud-init":
		return nil // in the seed
	default:
		return fmt.Errorf("the image has none of netplan, systemd-networkd, NetworkManager, ifupdown and cloud-init")
	}
	if err != nil {
		return err
	}
	return im.resolver()
}

// enabled says that systemd starts a unit in the image.
func (im *image) enabled(unit string) bool {
	for _, dir := range []string{"etc/systemd/system/multi-user.target.wants", "etc/systemd/system/sysinit.target.wants", "etc/systemd/system/network-online.target.wants", "etc/systemd/system"} {
		if _, err := im.ReadLink(dir + "/" + unit); err == nil {
			return true
		}
	}
	return false
}

func (im *image) networkSystem() string {
	switch {
	case im.anyFile("usr/sbin/netplan", "usr/share/netplan/netplan.script"):
		return "netplan"
	case im.enabled("systemd-networkd.service") || im.enabled("dbus-org.freedesktop.network1.service"):
		return "systemd-networkd"
	case im.enabled("NetworkManager.service"):
		return "NetworkManager"
	case im.anyFile("sbin/ifup", "usr/sbin/ifup"):
		return "ifupdown"
	case im.hasCloudInit():
		return "cloud-init"
	}
	return ""
}

// resolver writes /etc/resolv.conf if name servers were given and nothing in the
// image makes that file.
func (im *image) resolver() error {
	c := im.config
	if len(c.DNS) == 0 {
		return nil
	}
	if im.enabled("systemd-resolved.service") || im.enabled("dbus-org.freedesktop.resolve1.service") {
		return nil
	}
	var b strings.Builder
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	for _, d := range c.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", d)
	}
	return im.write("etc/resolv.conf", b.String(), 0o644)
}

func lower(mac string) string { return strings.ToLower(mac) }

// networkV2 is the configuration in cloud-init's and netplan's version 2.
func networkV2(c job.Config) map[string]any {
	eths, vlans := map[string]any{}, map[string]any{}
	for _, p := range ports(c.NICs) {
		// The name sorts before those of an image's own catch-all entries: the
		// first that matches an interface wins.
		name := "0gantry" + p.name
		eth := map[string]any{"match": map[string]string{"macaddress": p.mac}}
		if p.mtu > 0 {
			eth["mtu"] = p.mtu
		}
		if p.untagged != nil {
			addressesV2(eth, *p.untagged, c)
		}
		eths[name] = eth
		for _, n := range p.tagged {
			v := map[string]any{"id": n.VLAN, "link": name}
			addressesV2(v, n, c)
			vlans[p.vlanName(n)] = v
		}
	}
	out := map[string]any{"version": 2, "ethernets": eths}
	if len(vlans) > 0 {
		out["vlans"] = vlans
	}
	return out
}

func addressesV2(m map[string]any, n job.NIC, c job.Config) {
	m["dhcp4"] = n.DHCP
	if len(n.Addresses) > 0 {
		m["addresses"] = n.Addresses
	}
	var routes []map[string]any
	if via := n.Router(false); via != "" {
		routes = append(routes, map[string]any{"to": "0.0.0.0/0", "via": via, "on-link": true})
	}
	if via := n.Router(true); via != "" {
		routes = append(routes, map[string]any{"to": "::/0", "via": via, "on-link": true})
	}
	if len(routes) > 0 {
		m["routes"] = routes
	}
	if len(c.DNS)+len(c.Search) > 0 {
		m["nameservers"] = map[string][]string{"addresses": orNone(c.DNS), "search": orNone(c.Search)}
	}
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
