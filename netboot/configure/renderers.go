package configure

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// netplan writes one file (netplan(5)); JSON is YAML. Entries of the image's own
// files for other interfaces stay.
func (im *image) netplan() error {
	b, err := json.MarshalIndent(map[string]any{"network": networkV2(im.config)}, "", "  ")
	if err != nil {
		return err
	}
	return im.write("etc/netplan/99-gantry.yaml", string(b)+"\n", 0o600)
}

// networkd writes systemd.network(5) files whose names sort before an image's
// own catch-all.
func (im *image) networkd() error {
	for i, n := range im.config.NICs {
		name := nicName(i)
		var b strings.Builder
		fmt.Fprintf(&b, "[Match]\nPermanentMACAddress=%s\n", lower(n.MAC))
		if n.MTU > 0 {
			fmt.Fprintf(&b, "\n[Link]\nMTUBytes=%d\n", n.MTU)
		}
		b.WriteString("\n[Network]\n")
		if n.VLAN == 0 {
			networkdAddresses(&b, n, im.config)
		} else {
			tagged := fmt.Sprintf("%s.%d", name, n.VLAN)
			fmt.Fprintf(&b, "VLAN=%s\nLinkLocalAddressing=no\n", tagged)
			if err := im.networkdVLAN(tagged, n); err != nil {
				return err
			}
		}
		if err := im.write("etc/systemd/network/05-gantry-"+name+".network", b.String(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (im *image) networkdVLAN(name string, n job.NIC) error {
	dev := fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", name, n.VLAN)
	if err := im.write("etc/systemd/network/05-gantry-"+name+".netdev", dev, 0o644); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n\n[Network]\n", name)
	networkdAddresses(&b, n, im.config)
	return im.write("etc/systemd/network/05-gantry-"+name+".network", b.String(), 0o644)
}

func networkdAddresses(b *strings.Builder, n job.NIC, c job.Config) {
	if n.DHCP {
		b.WriteString("DHCP=ipv4\n")
	}
	for _, a := range n.Addresses {
		fmt.Fprintf(b, "Address=%s\n", a)
	}
	for _, d := range c.DNS {
		fmt.Fprintf(b, "DNS=%s\n", d)
	}
	if len(c.Search) > 0 {
		fmt.Fprintf(b, "Domains=%s\n", strings.Join(c.Search, " "))
	}
	if n.Gateway != "" {
		fmt.Fprintf(b, "\n[Route]\nGateway=%s\nGatewayOnLink=yes\n", n.Gateway)
	}
}

// ifupdown writes interfaces(5), and names the NICs by MAC for both udev
// (systemd.link(5)) and busybox' nameif (/etc/mactab).
func (im *image) ifupdown() error {
	if err := im.ifupdownFolders(); err != nil {
		return err
	}
	var b, mactab strings.Builder
	b.WriteString("auto lo\niface lo inet loopback\n")
	for i, n := range im.config.NICs {
		name := nicName(i)
		fmt.Fprintf(&mactab, "%s %s\n", name, lower(n.MAC))
		link := fmt.Sprintf("[Match]\nPermanentMACAddress=%s\n\n[Link]\nName=%s\n", lower(n.MAC), name)
		if im.Exists("lib/systemd/systemd-udevd") || im.Exists("usr/bin/udevadm") || im.Exists("bin/udevadm") {
			if err := im.write("etc/systemd/network/05-gantry-"+name+".link", link, 0o644); err != nil {
				return err
			}
		}
		if n.VLAN > 0 {
			fmt.Fprintf(&b, "\nauto %s\niface %s inet manual\n%s", name, name, mtuLine(n))
			parent := name
			name = fmt.Sprintf("%s.%d", name, n.VLAN)
			stanzas(&b, name, n, im.config, "\tvlan-raw-device "+parent+"\n")
		} else {
			stanzas(&b, name, n, im.config, mtuLine(n))
		}
	}
	if err := im.write("etc/mactab", mactab.String(), 0o644); err != nil {
		return err
	}
	return im.write("etc/network/interfaces", b.String(), 0o644)
}

// ifupdownFolders makes what ifup needs and a small image may lack: busybox' ifup
// gives up without /var/run for its state.
func (im *image) ifupdownFolders() error {
	for _, d := range []string{"if-pre-up.d", "if-up.d", "if-down.d", "if-post-down.d"} {
		if err := im.MkdirAll("etc/network/"+d, 0o755, rootUser); err != nil {
			return err
		}
	}
	if _, err := im.Lstat("var/run"); err == nil {
		return nil
	}
	if err := im.MkdirAll("var", 0o755, rootUser); err != nil {
		return err
	}
	return im.Symlink("/run", "var/run", rootUser)
}

func mtuLine(n job.NIC) string {
	if n.MTU == 0 {
		return ""
	}
	return fmt.Sprintf("\tmtu %d\n", n.MTU)
}

// stanzas writes one "iface" for each address: the first of each family has the
// gateway.
func stanzas(b *strings.Builder, name string, n job.NIC, c job.Config, extra string) {
	fmt.Fprintf(b, "\nauto %s\n", name)
	if n.DHCP {
		fmt.Fprintf(b, "iface %s inet dhcp\n%s", name, extra)
		extra = ""
	}
	if !n.DHCP && len(n.Addresses) == 0 {
		fmt.Fprintf(b, "iface %s inet manual\n%s", name, extra)
	}
	gateway := n.Gateway
	for _, a := range n.Addresses {
		p := netip.MustParsePrefix(a) // Validate saw it
		family := "inet"
		if p.Addr().Is6() {
			family = "inet6"
		}
		fmt.Fprintf(b, "iface %s %s static\n\taddress %s\n\tnetmask %s\n%s", name, family, p.Addr(), netmask(p), extra)
		if gateway != "" && strings.Contains(gateway, ":") == p.Addr().Is6() {
			fmt.Fprintf(b, "\tgateway %s\n", gateway)
			gateway = ""
		}
		if extra != "" || len(n.Addresses) == 1 {
			dnsLines(b, c)
		}
		extra = ""
	}
}

func dnsLines(b *strings.Builder, c job.Config) {
	if len(c.DNS) > 0 {
		fmt.Fprintf(b, "\tdns-nameservers %s\n", strings.Join(c.DNS, " "))
	}
	if len(c.Search) > 0 {
		fmt.Fprintf(b, "\tdns-search %s\n", strings.Join(c.Search, " "))
	}
}

// netmask is dotted for IPv4, which every ifup knows, and a length for IPv6.
func netmask(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprint(p.Bits())
	}
	m := uint32(0xffffffff) << (32 - p.Bits())
	if p.Bits() == 0 {
		m = 0
	}
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

// networkManager writes keyfiles (nm-settings-keyfile(5)).
func (im *image) networkManager() error {
	for i, n := range im.config.NICs {
		name, kind := nicName(i), "ethernet"
		var b strings.Builder
		if n.VLAN > 0 {
			kind = "vlan"
		}
		fmt.Fprintf(&b, "[connection]\nid=gantry-%s\ntype=%s\nautoconnect-priority=100\n", name, kind)
		if n.VLAN > 0 {
			fmt.Fprintf(&b, "interface-name=%s.%d\n\n[vlan]\nid=%d\nflags=1\n", name, n.VLAN, n.VLAN)
		}
		fmt.Fprintf(&b, "\n[ethernet]\nmac-address=%s\n", strings.ToUpper(n.MAC))
		if n.MTU > 0 {
			fmt.Fprintf(&b, "mtu=%d\n", n.MTU)
		}
		keyfileAddresses(&b, n, im.config)
		if err := im.write("etc/NetworkManager/system-connections/gantry-"+name+".nmconnection", b.String(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func keyfileAddresses(b *strings.Builder, n job.NIC, c job.Config) {
	for _, six := range []bool{false, true} {
		section, method := "ipv4", "disabled"
		if six {
			section, method = "ipv6", "link-local"
		}
		var addrs []string
		for _, a := range n.Addresses {
			if strings.Contains(a, ":") == six {
				addrs = append(addrs, a)
			}
		}
		if len(addrs) > 0 {
			method = "manual"
		}
		if n.DHCP && !six {
			method = "auto"
		}
		fmt.Fprintf(b, "\n[%s]\nmethod=%s\n", section, method)
		for i, a := range addrs {
			fmt.Fprintf(b, "address%d=%s\n", i+1, a)
		}
		if n.Gateway != "" && strings.Contains(n.Gateway, ":") == six {
			fmt.Fprintf(b, "gateway=%s\n", n.Gateway)
		}
		var dns []string
		for _, d := range c.DNS {
			if strings.Contains(d, ":") == six {
				dns = append(dns, d)
			}
		}
		if len(dns) > 0 {
			fmt.Fprintf(b, "dns=%s;\n", strings.Join(dns, ";"))
		}
		if len(c.Search) > 0 && !six {
			fmt.Fprintf(b, "dns-search=%s;\n", strings.Join(c.Search, ";"))
		}
	}
}
