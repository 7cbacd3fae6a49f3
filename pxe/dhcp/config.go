package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// maxPool bounds the dynamic addresses of a server: the lease table has 32
// bytes for each.
const maxPool = 1 << 22

// Config is what a Server needs. The zero value of a field without "required"
// means its default.
type Config struct {
	// Interface is the network device that the server is bound to; required.
	Interface string
	// Addr is the server's own address on Interface: its server identifier;
	// required.
	Addr netip.Addr
	// Subnets are the networks served, that of Interface and those behind
	// relays. At least one is required, unless Proxy.
	Subnets []Subnet
	// Boot is what network-booting machines are offered. Its Addr defaults to
	// Addr.
	Boot boot.Server
	// Proxy makes the server a ProxyDHCP server: it gives no addresses, adds
	// the boot answer beside another DHCP server's, and answers port 4011.
	// Some firmware takes no ProxyDHCP offer: prefer full DHCP.
	Proxy bool
	// OfferTime is how long an offered address is kept for its client; default
	// 10 s. When a pool runs short an offer may be taken back after 2 s.
	OfferTime time.Duration
	// DeclineTime is how long a declined address is not given out; default 10 min.
	DeclineTime time.Duration
	// ClientRate is the packets a second that one client may send in the long
	// run, default 8, and ClientBurst at once, default 24, at most 250.
	ClientRate, ClientBurst int
	// CommitInterval is the least time between the starts of two commits,
	// default 10 ms: what a DHCPACK may wait for company, so that a sync is
	// shared. The first after a pause does not wait. Negative means none.
	CommitInterval time.Duration
	// Port is the server's UDP port, default 67; clients are one above it and
	// relays on it. Only tests use another.
	Port uint16
}

// Subnet is one network, its dynamic addresses and what its clients are told.
type Subnet struct {
	// Prefix is the network; required.
	Prefix netip.Prefix
	// Pools are the ranges for clients without a reservation. None means that
	// only reservations are served.
	Pools []Range
	// Routers, DNS and NTP are options 3, 6 and 42.
	Routers, DNS, NTP []netip.Addr
	// Domain is option 15.
	Domain string
	// MTU is option 26; 0 is none.
	MTU uint16
	// LeaseTime is an installed system's lease, default 12 h. BootLeaseTime is
	// the lease of firmware and iPXE, default 15 min, as what boots asks again.
	LeaseTime, BootLeaseTime time.Duration
}

// Range is the addresses First to Last, both included.
type Range struct{ First, Last netip.Addr }

func (r Range) size() uint32 { return u32Of(r.Last) - u32Of(r.First) + 1 }

func (r Range) contains(a netip.Addr) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }

// withDefaults returns c with each unset field at its default.
func (c Config) withDefaults() Config {
	set(&c.OfferTime, 10*time.Second)
	set(&c.DeclineTime, 10*time.Minute)
	set(&c.ClientRate, 8)
	set(&c.ClientBurst, 24)
	set(&c.CommitInterval, 10*time.Millisecond)
	set(&c.Port, 67)
	set(&c.Boot.Addr, c.Addr)
	subnets := make([]Subnet, len(c.Subnets))
	for i, s := range c.Subnets {
		set(&s.LeaseTime, 12*time.Hour)
		set(&s.BootLeaseTime, 15*time.Minute)
		subnets[i] = s
	}
	c.Subnets = subnets
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error that names each field which is wrong, and why.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("dhcp: %s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Interface == "" {
		bad("Interface", "required")
	}
	if !c.Addr.Is4() || c.Addr.IsUnspecified() {
		bad("Addr", "%v is not an IPv4 address", c.Addr)
	}
	if len(c.Subnets) == 0 && !c.Proxy {
		bad("Subnets", "at least one is required")
	}
	if c.OfferTime < 2*time.Second || c.OfferTime > 5*time.Minute {
		bad("OfferTime", "%v is not between 2s and 5m", c.OfferTime)
	}
	if c.DeclineTime < time.Second {
		bad("DeclineTime", "%v is less than a second", c.DeclineTime)
	}
	if c.ClientRate < 1 || c.ClientRate > 1000 {
		bad("ClientRate", "%d is not between 1 and 1000", c.ClientRate)
	}
	if c.ClientBurst < 4 || c.ClientBurst > 250 {
		bad("ClientBurst", "%d is not between 4 (two exchanges) and 250", c.ClientBurst)
	}
	if c.CommitInterval > 100*time.Millisecond {
		bad("CommitInterval", "%v is more than 100ms", c.CommitInterval)
	}
	total := uint64(0)
	for i, s := range c.Subnets {
		s.validate(fmt.Sprintf("Subnets[%d]", i), bad)
		for j, other := range c.Subnets[:i] {
			if s.Prefix.IsValid() && other.Prefix.IsValid() && s.Prefix.Overlaps(other.Prefix) {
				bad(fmt.Sprintf("Subnets[%d].Prefix", i), "%v overlaps Subnets[%d]'s %v", s.Prefix, j, other.Prefix)
			}
		}
		for j, r := range s.Pools {
			if s.rangeError(r) == "" {
				total += uint64(r.size())
				if c.Addr.Is4() && r.contains(c.Addr) {
					bad(fmt.Sprintf("Subnets[%d].Pools[%d]", i, j), "contains the server's own address %v", c.Addr)
				}
			}
		}
	}
	if total > maxPool {
		bad("Subnets", "%d dynamic addresses in all, more than %d", total, maxPool)
	}
	if len(c.Subnets) > 1<<15 {
		bad("Subnets", "%d of them, more than %d", len(c.Subnets), 1<<15)
	}
	return errors.Join(errs...)
}

func (s Subnet) validate(at string, bad func(field, format string, args ...any)) {
	if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() || s.Prefix.Bits() > 31 || s.Prefix.Bits() < 1 || s.Prefix != s.Prefix.Masked() {
		bad(at+".Prefix", "%v is not an IPv4 network such as 10.0.4.0/24", s.Prefix)
		return
	}
	for j, r := range s.Pools {
		if why := s.rangeError(r); why != "" {
			bad(fmt.Sprintf("%s.Pools[%d]", at, j), "%v-%v %s", r.First, r.Last, why)
			continue
		}
		for k, o := range s.Pools[:j] {
			if r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0 {
				bad(fmt.Sprintf("%s.Pools[%d]", at, j), "overlaps Pools[%d]", k)
			}
		}
	}
	for name, list := range map[string][]netip.Addr{"Routers": s.Routers, "DNS": s.DNS, "NTP": s.NTP} {
		if len(list) > 16 {
			bad(at+"."+name, "%d addresses, more than 16", len(list))
		}
		for _, a := range list {
			if !a.Is4() {
				bad(at+"."+name, "%v is not an IPv4 address", a)
			}
			for j, r := range s.Pools {
				if a.Is4() && r.contains(a) {
					bad(fmt.Sprintf("%s.Pools[%d]", at, j), "contains %v of %s, which machines would be given", a, name)
				}
			}
		}
	}
	if len(s.Domain) > 253 {
		bad(at+".Domain", "longer than a domain name")
	}
	if s.MTU != 0 && s.MTU < 68 {
		bad(at+".MTU", "%d is less than IPv4's least, 68 (RFC 2132, section 5.1)", s.MTU)
	}
	for name, d := range map[string]time.Duration{"LeaseTime": s.LeaseTime, "BootLeaseTime": s.BootLeaseTime} {
		if d < 10*time.Second || d > 365*24*time.Hour {
			bad(at+"."+name, "%v is not between 10s and a year", d)
		}
	}
}

// rangeError says what is wrong with a pool of s, or "".
func (s Subnet) rangeError(r Range) string {
	switch {
	case !r.First.Is4() || !r.Last.Is4() || r.Last.Less(r.First):
		return "is not a range of IPv4 addresses"
	case !s.Prefix.Contains(r.First) || !s.Prefix.Contains(r.Last):
		return fmt.Sprintf("is not within %v", s.Prefix)
	case s.Prefix.Bits() < 31 && r.First == s.Prefix.Addr():
		return "begins with the network's own address"
	case s.Prefix.Bits() < 31 && u32Of(r.Last) == u32Of(s.Prefix.Addr())|^mask(s.Prefix.Bits()):
		return "ends with the broadcast address"
	}
	return ""
}

func mask(bits int) uint32 { return ^uint32(0) << (32 - bits) }
