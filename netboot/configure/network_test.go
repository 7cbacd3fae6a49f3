package configure

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/netboot/job"
)

// trunk is a NIC that is both untagged and tagged, twice, beside one with IPv6
// only; name servers of both families.
var trunk = job.Config{
	Hostname: "web1", DNS: []string{"192.0.2.53", "2001:db8::53"}, Search: []string{"example.org"},
	NICs: []job.NIC{
		{MAC: "52:54:00:AA:00:01", Addresses: []string{"192.0.2.10/24"}, Gateway: "192.0.2.1"},
		{MAC: "52:54:00:aa:00:01", VLAN: 40, Addresses: []string{"198.51.100.10/24"}, MTU: 9000},
		{MAC: "52:54:00:aa:00:01", VLAN: 41, DHCP: true},
		{MAC: "52:54:00:aa:00:02", Addresses: []string{"2001:db8::10/64"}, Gateway: "2001:db8::1"},
	},
}

// TestDualStack: a NIC has a default router of each family, in every system.
func TestDualStack(t *testing.T) {
	c := job.Config{Hostname: "web1", NICs: []job.NIC{{MAC: "52:54:00:aa:00:01",
		Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}, Gateway: "192.0.2.1", Gateway6: "2001:db8::1"}}}
	for file, image := range map[string]map[string]string{
		"etc/systemd/network/05-gantry-net0.network":                     {"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "-> /x"},
		"etc/network/interfaces":                                         {"sbin/ifup": ""},
		"etc/netplan/99-gantry.yaml":                                     {"usr/sbin/netplan": ""},
		"etc/NetworkManager/system-connections/gantry-net0.nmconnection": {"etc/systemd/system/multi-user.target.wants/NetworkManager.service": "-> /x"},
	} {
		root := newRoot(t, image)
		if _, err := Apply(root, c); err != nil {
			t.Fatal(err)
		}
		got := read(t, root, file)
		for _, via := range []string{"192.0.2.1", "2001:db8::1"} {
			if !strings.Contains(got, via+"\n") && !strings.Contains(got, via+"\"") {
				t.Errorf("%s has no route by %s:\n%s", file, via, got)
			}
		}
	}
}

// TestTrunk: all that one NIC carries is in one place, where systems look for
// it, and no system is told what it refuses.
func TestTrunk(t *testing.T) {
	for system, c := range map[string]struct {
		image map[string]string
		want  map[string]string
	}{
		"systemd-networkd": {map[string]string{"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "-> /x"}, map[string]string{
			"etc/systemd/network/05-gantry-net0.network":    "[Match]\nPermanentMACAddress=52:54:00:aa:00:01\n\n[Link]\nMTUBytes=9000\n\n[Network]\nVLAN=net0.40\nVLAN=net0.41\nAddress=192.0.2.10/24\nDNS=192.0.2.53\nDNS=2001:db8::53\nDomains=example.org\n\n[Route]\nGateway=192.0.2.1\nGatewayOnLink=yes\n",
			"etc/systemd/network/05-gantry-net0.40.netdev":  "[NetDev]\nName=net0.40\nKind=vlan\n\n[VLAN]\nId=40\n",
			"etc/systemd/network/05-gantry-net0.41.network": "[Match]\nName=net0.41\n\n[Network]\nDHCP=ipv4\nDNS=192.0.2.53\nDNS=2001:db8::53\nDomains=example.org\n",
			"etc/systemd/network/05-gantry-net1.network":    "[Match]\nPermanentMACAddress=52:54:00:aa:00:02\n\n[Network]\nAddress=2001:db8::10/64\nDNS=192.0.2.53\nDNS=2001:db8::53\nDomains=example.org\n\n[Route]\nGateway=2001:db8::1\nGatewayOnLink=yes\n",
		}},
		"ifupdown": {map[string]string{"sbin/ifup": ""}, map[string]string{
			"etc/mactab": "net0 52:54:00:aa:00:01\nnet1 52:54:00:aa:00:02\n",
		}},
		"NetworkManager": {map[string]string{"etc/systemd/system/multi-user.target.wants/NetworkManager.service": "-> /x"}, map[string]string{
			"etc/NetworkManager/system-connections/gantry-net0.nmconnection":    "[connection]\nid=gantry-net0\ntype=ethernet\nautoconnect-priority=100\n\n[ethernet]\nmac-address=52:54:00:AA:00:01\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.10/24\ngateway=192.0.2.1\ndns=192.0.2.53;\ndns-search=example.org;\n\n[ipv6]\nmethod=link-local\n",
			"etc/NetworkManager/system-connections/gantry-net0.40.nmconnection": "[connection]\nid=gantry-net0.40\ntype=vlan\nautoconnect-priority=100\ninterface-name=net0.40\n\n[vlan]\nid=40\nflags=1\n\n[ethernet]\nmac-address=52:54:00:AA:00:01\nmtu=9000\n\n[ipv4]\nmethod=manual\naddress1=198.51.100.10/24\ndns=192.0.2.53;\ndns-search=example.org;\n\n[ipv6]\nmethod=link-local\n",
			"etc/NetworkManager/system-connections/gantry-net1.nmconnection":    "[connection]\nid=gantry-net1\ntype=ethernet\nautoconnect-priority=100\n\n[ethernet]\nmac-address=52:54:00:AA:00:02\n\n[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=manual\naddress1=2001:db8::10/64\ngateway=2001:db8::1\ndns=2001:db8::53;\ndns-search=example.org;\n",
		}},
	} {
		t.Run(system, func(t *testing.T) {
			root := newRoot(t, c.image)
			r, err := Apply(root, trunk)
			if err != nil || r.Network != system {
				t.Fatalf("%+v, %v", r, err)
			}
			for name, want := range c.want {
				if d := cmp.Diff(want, read(t, root, name)); d != "" {
					t.Errorf("%s (-want +got):\n%s", name, d)
				}
			}
		})
	}
}

// TestTrunkV2: netplan and cloud-init get one entry for each NIC, too.
func TestTrunkV2(t *testing.T) {
	b, err := json.Marshal(networkV2(trunk))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Ethernets map[string]struct {
			Match     struct{ MACAddress string }
			MTU       int
			Addresses []string
		}
		VLANs map[string]struct {
			ID    int
			Link  string
			DHCP4 bool
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	net0 := got.Ethernets["0gantrynet0"]
	if len(got.Ethernets) != 2 || net0.Match.MACAddress != "52:54:00:aa:00:01" || net0.MTU != 9000 || len(net0.Addresses) != 1 {
		t.Errorf("ethernets %+v", got.Ethernets)
	}
	v40, v41 := got.VLANs["net0.40"], got.VLANs["net0.41"]
	if len(got.VLANs) != 2 || v40.ID != 40 || v41.ID != 41 || v40.Link != "0gantrynet0" || v41.Link != "0gantrynet0" || v40.DHCP4 || !v41.DHCP4 {
		t.Errorf("vlans %+v", got.VLANs)
	}
}
