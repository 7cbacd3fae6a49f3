package appliance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
)

// complaints are what is wrong with a configuration, in the order of its keys.
type complaints []error

func (c *complaints) add(key, format string, args ...any) {
	*c = append(*c, fmt.Errorf(key+": "+format, args...))
}

// Validate says everything that is wrong with c.
func (c *Config) Validate() error {
	var bad complaints
	if err := asset.CheckName("pod", c.Pod); err != nil {
		bad.add("pod", "%w", err)
	}
	c.checkPaths(&bad)
	if prefix, ok := c.checkProvisioning(&bad); ok {
		c.checkDHCP(prefix, &bad)
	}
	if c.HTTP.Port == 0 || c.HTTP.ImageRate < 0 {
		bad.add("http", "port %d, image_rate %d: the port is from 1 to 65535, the rate 0 or more", c.HTTP.Port, c.HTTP.ImageRate)
	}
	if t := c.API.TLS; t != nil && (t.Listen == "" || t.Cert == "" || t.Key == "" || t.Tokens == "") {
		bad.add("api.tls", "listen, cert, key and tokens are required")
	}
	switch c.Discovery {
	case boot.DiscoverInspect, boot.DiscoverRecord, boot.DiscoverIgnore:
	default:
		bad.add("discovery", "%q is not inspect, record or ignore", c.Discovery)
	}
	c.checkAlerts(&bad)
	c.checkTimes(&bad)
	if c.Keep < Duration(minKeep) {
		bad.add("keep", "is %s, at least %s", c.Keep, Duration(minKeep))
	}
	return errors.Join(bad...)
}

// Bounds of paths: those of Unix sockets have at most 107 bytes (unix(7)), and
// package host puts names of its own below RunDir.
const (
	maxSocket = 107
	maxRunDir = 52
)

func (c *Config) checkPaths(bad *complaints) {
	for _, p := range []struct{ key, path string }{{"state_dir", c.StateDir}, {"run_dir", c.RunDir}, {"api.socket", c.API.Socket},
		{"drivers.dir", c.Drivers.Dir}, {"netboot.dir", c.Netboot.Dir}, {"netboot.loaders", c.Netboot.Loaders}} {
		if p.path == "" {
			bad.add(p.key, "is required")
		}
	}
	if len(c.RunDir) > maxRunDir {
		bad.add("run_dir", "%s has %d bytes, at most %d fit with the sockets below it", c.RunDir, len(c.RunDir), maxRunDir)
	}
	if len(c.API.Socket) > maxSocket {
		bad.add("api.socket", "%s has %d bytes, a socket's path at most %d", c.API.Socket, len(c.API.Socket), maxSocket)
	}
}

func (c *Config) checkProvisioning(bad *complaints) (prefix netip.Prefix, ok bool) {
	p := c.Provisioning
	switch {
	case (p.Device == "") == (p.Parent == ""), p.Device != "" && p.VLAN != 0:
		bad.add("provisioning", "give either device, or parent and vlan")
	case p.Parent != "" && (p.VLAN < 1 || p.VLAN > 4094):
		bad.add("provisioning.vlan", "%d is not from 1 to 4094 (IEEE 802.1Q)", p.VLAN)
	}
	if p.MTU != 0 && (p.MTU < 576 || p.MTU > 65535) {
		bad.add("provisioning.mtu", "%d is not from 576 to 65535", p.MTU)
	}
	prefix, err := netip.ParsePrefix(p.Address)
	if err != nil || !prefix.Addr().Is4() {
		bad.add("provisioning.address", "%q is not an IPv4 address with a prefix length, such as 10.0.4.1/24", p.Address)
		return prefix, false
	}
	return prefix, true
}

// checkDHCP leaves nothing for the DHCP server to refuse, in words that are not
// those of the file, when the appliance starts.
func (c *Config) checkDHCP(prefix netip.Prefix, bad *complaints) {
	before := len(*bad)
	c.checkNetworks(prefix, bad)
	if len(*bad) > before {
		return
	}
	if err := c.dhcp("eth0").Validate(); err != nil {
		bad.add("dhcp", "%w", err)
	}
}

func (c *Config) checkNetworks(prefix netip.Prefix, bad *complaints) {
	d := c.DHCP
	machines := checkRange("dhcp.machines", d.Machines, prefix, d.Proxy, bad)
	if d.Proxy && d.Machines == "" && c.Discovery != boot.DiscoverIgnore {
		bad.add("dhcp.machines", "is required with dhcp.proxy, as machines that are found get their address from it: a range that the other server leaves alone; "+
			"or say discovery: ignore, and give each machine's address in the inventory")
	}
	pool := checkRange("dhcp.pool", d.Pool, prefix, true, bad)
	if machines[0].IsValid() && pool[0].IsValid() && machines[0].Compare(pool[1]) <= 0 && pool[0].Compare(machines[1]) <= 0 {
		bad.add("dhcp.pool", "%s overlaps dhcp.machines, %s", d.Pool, d.Machines)
	}
	checkRouter("dhcp.router", d.Router, bad)
	c.checkTaken("dhcp.machines", machines, prefix, d.Router, bad)
	c.checkTaken("dhcp.pool", pool, prefix, d.Router, bad)
	for i, s := range append(append([]string{}, d.DNS...), d.NTP...) {
		if _, err := netip.ParseAddr(s); err != nil {
			bad.add("dhcp.dns, dhcp.ntp", "entry %d: %q is not an address", i+1, s)
		}
	}
	if d.Lease < Duration(minLease) || d.Lease > Duration(maxLease) {
		bad.add("dhcp.lease", "is %s, from %s to %s", d.Lease, Duration(minLease), Duration(maxLease))
	}
	networks := []netip.Prefix{prefix}
	for i, r := range d.Relayed {
		key := fmt.Sprintf("dhcp.relayed[%d]", i)
		p, err := netip.ParsePrefix(r.Prefix)
		if err != nil || !p.Addr().Is4() {
			bad.add(key+".prefix", "%q is not an IPv4 prefix, such as 10.0.5.0/24", r.Prefix)
			continue
		}
		for _, other := range networks {
			if p.Overlaps(other) {
				bad.add(key+".prefix", "%s overlaps %s", p.Masked(), other.Masked())
			}
		}
		networks = append(networks, p)
		pool := checkRange(key+".pool", r.Pool, p, true, bad)
		checkRouter(key+".router", r.Router, bad)
		c.checkTaken(key+".pool", pool, p, r.Router, bad)
	}
}

// checkTaken complains of a range that contains what no machine may be given.
func (c *Config) checkTaken(key string, r [2]netip.Addr, prefix netip.Prefix, router string, bad *complaints) {
	if !r[0].IsValid() {
		return
	}
	complain := func(a netip.Addr, what string) {
		if r[0].Compare(a) <= 0 && a.Compare(r[1]) <= 0 {
			bad.add(key, "%s-%s contains %s, %s", r[0], r[1], a, what)
		}
	}
	for _, a := range addrs([]string{router}) {
		complain(a, "the router")
	}
	for _, a := range addrs(append(append([]string{}, c.DHCP.DNS...), c.DHCP.NTP...)) {
		complain(a, "of dhcp.dns or dhcp.ntp")
	}
	if prefix.Bits() < 31 {
		complain(prefix.Masked().Addr(), "the network's own address")
		complain(broadcast(prefix), "its broadcast address")
	}
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(a)
}

func checkRouter(key, s string, bad *complaints) {
	if a, err := netip.ParseAddr(s); s != "" && (err != nil || !a.Is4()) {
		bad.add(key, "%q is not an IPv4 address", s)
	}
}

// checkRange returns the range that s is, or an invalid one.
func checkRange(key, s string, prefix netip.Prefix, optional bool, bad *complaints) (none [2]netip.Addr) {
	if s == "" && optional {
		return none
	}
	r, err := parseRange(s)
	switch {
	case err != nil:
		bad.add(key, "%w", err)
	case !prefix.Contains(r[0]) || !prefix.Contains(r[1]):
		bad.add(key, "%s is not within %s", s, prefix.Masked())
	case prefix != prefix.Masked() && r[0].Compare(prefix.Addr()) <= 0 && prefix.Addr().Compare(r[1]) <= 0:
		bad.add(key, "%s contains the appliance's own address", s)
	default:
		return r
	}
	return none
}

func (c *Config) checkAlerts(bad *complaints) {
	if w := c.Alerts.Webhook; w != nil {
		if u, err := url.Parse(w.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			bad.add("alerts.webhook.url", "is not an http or https URL") // it is a secret, so it is not shown
		}
	}
	m := c.Alerts.SMTP
	if m == nil {
		return
	}
	if m.Server == "" || m.From == "" || len(m.To) == 0 {
		bad.add("alerts.smtp", "server, from and to are required")
	} else if _, _, err := net.SplitHostPort(m.Server); err != nil {
		bad.add("alerts.smtp.server", "%q is not HOST:PORT", m.Server)
	}
}

func (c *Config) checkTimes(bad *complaints) {
	t := c.Times
	for _, d := range []struct {
		key  string
		d    Duration
		zero bool // whether 0 means something
	}{{"boot", t.Boot, false}, {"image", t.Image, false}, {"wipe", t.Wipe, false}, {"verify", t.Verify, false},
		{"outlet_settle", t.Settle, false}, {"outlet_off_for", t.OffFor, true}, {"lldp", t.LLDP, true}, {"agent_lost", t.Lost, false}} {
		if d.d < 0 || d.d == 0 && !d.zero {
			bad.add("times."+d.key, "%s is not a time to wait", d.d)
		}
	}
}

// parseRange reads FIRST-LAST.
func parseRange(s string) (r [2]netip.Addr, err error) {
	for i := range s {
		if s[i] != '-' {
			continue
		}
		first, err1 := netip.ParseAddr(s[:i])
		last, err2 := netip.ParseAddr(s[i+1:])
		if err1 == nil && err2 == nil && first.Is4() && last.Is4() && first.Compare(last) <= 0 {
			return [2]netip.Addr{first, last}, nil
		}
	}
	return r, fmt.Errorf("%q is not a range of IPv4 addresses FIRST-LAST", s)
}
