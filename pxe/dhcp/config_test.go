package dhcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestValidateNamesTheField(t *testing.T) {
	if err := testConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		want string
		bend func(*Config)
	}{
		{"Interface: required", func(c *Config) { c.Interface = "" }},
		{"Addr: ", func(c *Config) { c.Addr = ip("::1") }},
		{"Subnets: at least one", func(c *Config) { c.Subnets = nil }},
		{"OfferTime: 1s", func(c *Config) { c.OfferTime = time.Second }},
		{"DeclineTime: ", func(c *Config) { c.DeclineTime = -1 }},
		{"ClientRate: ", func(c *Config) { c.ClientRate = -1 }},
		{"ClientBurst: ", func(c *Config) { c.ClientBurst = 251 }},
		{"CommitInterval: ", func(c *Config) { c.CommitInterval = time.Second }},
		{"Subnets[0].Prefix: ", func(c *Config) { c.Subnets[0].Prefix = netip.MustParsePrefix("10.0.0.1/24") }},
		{"Subnets[1].Prefix: 10.0.0.0/16 overlaps Subnets[0]", func(c *Config) { c.Subnets[1].Prefix = netip.MustParsePrefix("10.0.0.0/16") }},
		{"Subnets[0].Pools[0]: ", func(c *Config) { c.Subnets[0].Pools[0].Last = ip("10.0.0.50") }},
		{"is not within 10.0.0.0/24", func(c *Config) { c.Subnets[0].Pools[0].Last = ip("10.0.1.50") }},
		{"the network's own address", func(c *Config) { c.Subnets[0].Pools[0].First = ip("10.0.0.0") }},
		{"the broadcast address", func(c *Config) { c.Subnets[0].Pools[0].Last = ip("10.0.0.255") }},
		{"the server's own address 10.0.0.1", func(c *Config) { c.Subnets[0].Pools[0].First = ip("10.0.0.1") }},
		{"contains 10.0.0.101 of Routers", func(c *Config) { c.Subnets[0].Routers = []netip.Addr{ip("10.0.0.101")} }},
		{"contains 10.0.0.102 of DNS", func(c *Config) { c.Subnets[0].DNS = []netip.Addr{ip("10.0.0.102")} }},
		{"Pools[1]: overlaps Pools[0]", func(c *Config) { c.Subnets[0].Pools = append(c.Subnets[0].Pools, c.Subnets[0].Pools[0]) }},
		{"Subnets[0].Routers: ", func(c *Config) { c.Subnets[0].Routers = []netip.Addr{ip("::1")} }},
		{"Subnets[0].MTU: ", func(c *Config) { c.Subnets[0].MTU = 60 }},
		{"Subnets[0].LeaseTime: ", func(c *Config) { c.Subnets[0].LeaseTime = time.Second }},
		{"dynamic addresses in all", func(c *Config) {
			c.Subnets = []Subnet{{Prefix: netip.MustParsePrefix("12.0.0.0/8"), Pools: []Range{{ip("12.0.0.1"), ip("12.200.0.0")}}}}
		}},
	} {
		cfg := testConfig()
		row.bend(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("want %q in %v", row.want, err)
		}
	}
}
