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
	for _, p := range ports(im.config.NICs) {
		var b strings.Builder
		fmt.Fprintf(&b, "[Match]\nPermanentMACAddress=%s\n", p.mac)
		if p.mtu > 0 {
			fmt.Fprintf(&b, "\n[Link]\nMTUBytes=%d\n", p.mtu)
		}
		b.WriteString("\n[Network]\n")
		for _, n := range p.tagged {
			fmt.Fprintf(&b, "VLAN=%s\n", p.vlanName(n))
			if err := im.networkdVLAN(p.vlanName(n), n); err != nil {
				return err
			}
		}
		if p.untagged != nil {
			networkdAddresses(&b, *p.untagged, im.config)
		} else {
			b.WriteString("LinkLocalAddressing=no\n")
		}
		if err := im.write("etc/systemd/network/05-gantry-"+p.name+".network", b.String(), 0o644); err != nil {
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
	for _, six := range []bool{false, true} {
		if via := n.Router(six); via != "" {
			fmt.Fprintf(b, "\n[Route]\nGateway=%s\nGatewayOnLink=yes\n", via)
		}
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
	for _, p := range ports(im.config.NICs) {
		fmt.Fprintf(&mactab, "%s %s\n", p.name, p.mac)
		link := fmt.Sprintf("[Match]\nPermanentMACAddress=%s\n\n[Link]\nName=%s\n", p.mac, p.name)
		if im.Exists("lib/systemd/systemd-udevd") || im.Exists("usr/bin/udevadm") || im.Exists("bin/udevadm") {
			if err := im.write("etc/systemd/network/05-gantry-"+p.name+".link", link, 0o644); err != nil {
				return err
			}
		}
		if p.untagged != nil {
			stanzas(&b, p.name, *p.untagged, im.config, mtuLine(p.mtu))
		} else {
			fmt.Fprintf(&b, "\nauto %s\niface %s inet manual\n%s", p.name, p.name, mtuLine(p.mtu))
		}
		for _, n := range p.tagged {
			stanzas(&b, p.vlanName(n), n, im.config, vlanLines(p.name, p.vlanName(n), n.VLAN))
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

func mtuLine(mtu int) string {
	if mtu == 0 {
		return ""
	}
	return fmt.Sprintf("\tmtu %d\n", mtu)
}

// vlanLines make a tagged interface: the first is Debian's ifup's, which busybox'
// does not know, so that the interface is made by hand if it is not there.
func vlanLines(parent, name string, id int) string {
	return fmt.Sprintf("\tvlan-raw-device %s\n\tpre-up ip link show dev %s >/dev/null 2>&1 || ip link add link %s name %s type vlan id %d\n", parent, name, parent, name, id)
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
	gateway := map[bool]string{false: n.Router(false), true: n.Router(true)}
	for _, a := range n.Addresses {
		p := netip.MustParsePrefix(a) // Validate saw it
		family := "inet"
		if p.Addr().Is6() {
			family = "inet6"
		}
		fmt.Fprintf(b, "iface %s %s static\n\taddress %s\n\tnetmask %s\n%s", name, family, p.Addr(), netmask(p), extra)
		if via := gateway[p.Addr().Is6()]; via != "" {
			fmt.Fprintf(b, "\tgateway %s\n", via)
			gateway[p.Addr().Is6()] = ""
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
	for _, p := range ports(im.config.NICs) {
		if p.untagged != nil {
			if err := im.keyfile(p, p.name, *p.untagged); err != nil {
				return err
			}
		}
		for _, n := range p.tagged {
			if err := im.keyfile(p, p.vlanName(n), n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (im *image) keyfile(p port, name string, n job.NIC) error {
	kind := "ethernet"
	if n.VLAN > 0 {
		kind = "vlan"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[connection]\nid=gantry-%s\ntype=%s\nautoconnect-priority=100\n", name, kind)
	if n.VLAN > 0 {
		fmt.Fprintf(&b, "interface-name=%s\n\n[vlan]\nid=%d\nflags=1\n", name, n.VLAN)
	}
	fmt.Fprintf(&b, "\n[ethernet]\nmac-address=%s\n", strings.ToUpper(p.mac))
	if n.MTU > 0 {
		fmt.Fprintf(&b, "mtu=%d\n", n.MTU)
	}
	search := im.config.Search
	for _, six := range []bool{false, true} {
		if keyfileFamily(&b, n, im.config.DNS, search, six) {
			search = nil
		}
	}
	return im.write("etc/NetworkManager/system-connections/gantry-"+name+".nmconnection", b.String(), 0o600)
}

// keyfileFamily writes the section of IPv4 or IPv6. It reports whether it could
// say what names are looked up with: NetworkManager refuses a profile that says
// so where no address is configured (nm-setting-ip4-config.c,
// nm-setting-ip6-config.c, verify).
func keyfileFamily(b *strings.Builder, n job.NIC, dns, search []string, six bool) bool {
	section, method := "ipv4", "disabled"
	if six {
		section, method = "ipv6", "link-local"
	}
	addrs := ofFamily(n.Addresses, six)
	configured := len(addrs) > 0
	if configured {
		method = "manual"
	}
	if n.DHCP && !six {
		method, configured = "auto", true
	}
	fmt.Fprintf(b, "\n[%s]\nmethod=%s\n", section, method)
	for i, a := range addrs {
		fmt.Fprintf(b, "address%d=%s\n", i+1, a)
	}
	if !configured {
		return false
	}
	if via := n.Router(six); via != "" {
		fmt.Fprintf(b, "gateway=%s\n", via)
	}
	if d := ofFamily(dns, six); len(d) > 0 {
		fmt.Fprintf(b, "dns=%s;\n", strings.Join(d, ";"))
	}
	if len(search) > 0 {
		fmt.Fprintf(b, "dns-search=%s;\n", strings.Join(search, ";"))
	}
	return true
}

// ofFamily are the addresses of IPv6, or those of IPv4.
func ofFamily(addrs []string, six bool) []string {
	var out []string
	for _, a := range addrs {
		if strings.Contains(a, ":") == six {
			out = append(out, a)
		}
	}
	return out
}
