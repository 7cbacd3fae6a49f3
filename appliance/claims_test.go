package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/httpboot"
)

var (
	victim = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}
	thief  = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
)

// podClaims is a network with a victim at 10.0.0.2, a thief at 10.0.0.1, a machine
// behind a relay, and one that DHCP has heard decline its address.
func podClaims() claims {
	leases := map[dhcp.MAC]dhcp.Lease{}
	lease := func(mac net.HardwareAddr, addr string, s dhcp.State) {
		leases[dhcp.MAC(mac)] = dhcp.Lease{Record: dhcp.Record{Addr: netip.MustParseAddr(addr), State: s, Expiry: time.Now().Add(-time.Hour)}}
	}
	lease(victim, "10.0.0.2", dhcp.Bound)
	lease(thief, "10.0.0.1", dhcp.Bound)
	lease(net.HardwareAddr{2, 0, 0, 0, 0, 9}, "10.9.0.9", dhcp.Bound)
	lease(net.HardwareAddr{2, 0, 0, 0, 0, 3}, "10.0.0.3", dhcp.Declined)
	return claims{link: netip.MustParsePrefix("10.0.0.0/24"),
		lease: func(m dhcp.MAC) (dhcp.Lease, bool) { l, ok := leases[m]; return l, ok },
		neighbour: func(a netip.Addr) (net.HardwareAddr, error) {
			switch a.String() {
			case "10.0.0.1", "10.0.0.77", "10.0.0.3":
				return thief, nil
			case "10.0.0.2":
				return victim, nil
			}
			return nil, errors.New("no entry")
		}}
}

// TestClaims: who is believed to be the machine whose script it asks for.
func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name  string
		mac   net.HardwareAddr
		from  string
		proxy bool
		taken func(netip.Addr) (net.HardwareAddr, error) // instead of the neighbours
		want  bool
	}{
		{name: "the machine, though its lease has ended", mac: victim, from: "10.0.0.2", want: true},
		{name: "a neighbour from its own address", mac: victim, from: "10.0.0.1"},
		{name: "a neighbour from an address that it took", mac: victim, from: "10.0.0.77"},
		{name: "a neighbour from the machine's own address", mac: victim, from: "10.0.0.2",
			taken: func(netip.Addr) (net.HardwareAddr, error) { return thief, nil }},
		{name: "an invented MAC address", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, from: "10.0.0.1"},
		{name: "an address that was declined", mac: net.HardwareAddr{2, 0, 0, 0, 0, 3}, from: "10.0.0.3"},
		{name: "no Ethernet address", mac: net.HardwareAddr{1}, from: "10.0.0.1"},
		{name: "behind a relay", mac: net.HardwareAddr{2, 0, 0, 0, 0, 9}, from: "10.9.0.9", want: true},
		{name: "behind a relay, from another's address", mac: victim, from: "10.9.0.9"},
		{name: "with another's DHCP", mac: victim, from: "10.0.0.2", proxy: true, want: true},
		{name: "with another's DHCP, a neighbour", mac: victim, from: "10.0.0.1", proxy: true},
		{name: "with another's DHCP, from elsewhere", mac: victim, from: "10.9.0.9", proxy: true},
	} {
		p := podClaims()
		if c.proxy {
			p.lease = nil
		}
		if c.taken != nil {
			p.neighbour = c.taken
		}
		if err := p.check(c.mac, netip.MustParseAddr(c.from)); (err == nil) != c.want || err != nil && !errors.Is(err, errNotTheirs) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	p := podClaims()
	p.neighbour = func(netip.Addr) (net.HardwareAddr, error) { return nil, errors.New("netlink is full") }
	if err := p.check(victim, netip.MustParseAddr("10.0.0.2")); err == nil || errors.Is(err, errNotTheirs) {
		t.Errorf("what cannot be examined is not refuted: %v", err)
	}
}

// TestScriptRefused: who is not the machine is told to wait, nothing is decided
// for it, and a person hears of it if it is one of ours.
func TestScriptRefused(t *testing.T) {
	var alerts []alert.Alert
	s := scripter{claims: podClaims(), host: func(mac [6]byte) (boot.Host, bool) {
		return boot.Host{Machine: "m2"}, net.HardwareAddr(mac[:]).String() == victim.String()
	}, post: func(a alert.Alert) { alerts = append(alerts, a) }}
	for _, mac := range []net.HardwareAddr{victim, {2, 0, 0, 0, 0, 1}} {
		p, err := s.Script(context.Background(), mac, netip.MustParseAddr("10.0.0.1"))
		if wait, ok := p.(httpboot.Wait); !ok || err != nil || wait.For != waitFor {
			t.Errorf("%s: %+v, %v", mac, p, err)
		}
	}
	if len(alerts) != 1 || alerts[0].Code != "script-refused" || alerts[0].Subject != "machine/m2" {
		t.Errorf("alerts %+v", alerts)
	}
}

// TestDHCPTrouble: what DHCP cannot mend reaches people, and what is its daily
// work does not.
func TestDHCPTrouble(t *testing.T) {
	var alerts []string
	w := newWatcher(boot.NewSightings(time.Now), func(mac [6]byte) (boot.Host, bool) { return boot.Host{Machine: "m2"}, mac == [6]byte(victim) },
		func(a alert.Alert) { alerts = append(alerts, a.Code+" "+a.Subject) })
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	for _, e := range []dhcp.Event{
		{Kind: dhcp.Offered, MAC: dhcp.MAC(victim)}, {Kind: dhcp.Acknowledged, MAC: dhcp.MAC(victim)}, {Kind: dhcp.Refused}, {Kind: dhcp.GivenBack},
		{Kind: dhcp.InUse, MAC: dhcp.MAC(victim), Addr: netip.MustParseAddr("10.0.0.2"), Subnet: subnet},
		{Kind: dhcp.InUse, MAC: dhcp.MAC{2}, Addr: netip.MustParseAddr("10.0.0.100"), Subnet: subnet},
		{Kind: dhcp.Exhausted, MAC: dhcp.MAC{2}, Subnet: subnet},
	} {
		w.dhcp(e)
	}
	want := []string{"address-in-use machine/m2", "address-in-use address/10.0.0.100", "pool-exhausted network/10.0.0.0/24"}
	if d := cmp.Diff(want, alerts); d != "" {
		t.Error(d)
	}
}
