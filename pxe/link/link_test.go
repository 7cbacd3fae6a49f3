package link

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
)

func TestValidate(t *testing.T) {
	addr := netip.MustParsePrefix("10.0.0.1/24")
	for _, tc := range []struct {
		name string
		spec Spec
		bad  string // in the error; empty: valid
	}{
		{"untagged", Spec{Device: "eth1", Address: addr}, ""},
		{"tagged", Spec{Parent: "eth1", VLAN: 40, Address: addr, MTU: 9000}, ""},
		{"VLAN 1", Spec{Parent: "eth1", VLAN: 1, Address: addr}, ""},
		{"VLAN 4094", Spec{Parent: "eth1", VLAN: 4094, Address: addr}, ""},
		{"nothing", Spec{Address: addr}, "neither"},
		{"both", Spec{Device: "eth1", Parent: "eth1", VLAN: 4, Address: addr}, "untagged"},
		{"device with VLAN", Spec{Device: "eth1", VLAN: 4, Address: addr}, "untagged"},
		{"VLAN 0", Spec{Parent: "eth1", Address: addr}, "not 1 to 4094"},
		{"VLAN 4095", Spec{Parent: "eth1", VLAN: 4095, Address: addr}, "not 1 to 4094"},
		{"VLAN -1", Spec{Parent: "eth1", VLAN: -1, Address: addr}, "not 1 to 4094"},
		{"no address", Spec{Device: "eth1"}, "address"},
		{"unspecified address", Spec{Device: "eth1", Address: netip.MustParsePrefix("0.0.0.0/0")}, "address"},
		{"long name", Spec{Device: "interface-of-rack-1", Address: addr}, "longer"},
		{"MTU", Spec{Device: "eth1", Address: addr, MTU: 100}, "MTU"},
	} {
		err := tc.spec.Validate()
		if (err == nil) != (tc.bad == "") || err != nil && !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for want, spec := range map[string]Spec{"eth1": {Device: "eth1"}, "eth1.40": {Parent: "eth1", VLAN: 40}, "vlan4000": {Parent: "enp129s0f0np0", VLAN: 4000}} {
		if got := spec.Name(); got != want {
			t.Errorf("%+v is named %q, want %q", spec, got, want)
		}
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}

func addresses(t *testing.T, name string) string {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, a := range addrs {
		all = append(all, a.IPNet.String())
	}
	return strings.Join(all, " ")
}

// TestUntagged makes, repeats and removes on a real device.
func TestUntagged(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	spec := Spec{Device: "eth1", Address: netip.MustParsePrefix("10.9.0.1/24"), MTU: 1400}
	if _, err := Ensure(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "eth1") {
		t.Fatalf("without the device: %v", err)
	}
	ip(t, "link", "add", "eth1", "type", "veth", "peer", "name", "far")
	ip(t, "link", "set", "far", "up")
	ip(t, "addr", "add", "192.0.2.7/32", "dev", "eth1")
	l, err := Ensure(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"set MTU 1400, was 1500", "set eth1 up", "added address 10.9.0.1/24"}
	if d := cmp.Diff(want, l.Changes); d != "" || l.Ours || l.MTU != 1400 || len(l.MAC) != 6 {
		t.Errorf("%+v %s", l, d)
	}
	l, err = Ensure(t.Context(), spec)
	if err != nil || len(l.Changes) != 0 || !l.Carrier {
		t.Errorf("again: %+v, %v", l, err)
	}
	for range 2 {
		if err := Remove(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if got := addresses(t, "eth1"); got != "192.0.2.7/32" {
			t.Errorf("after Remove: %q, want the administrator's address alone", got)
		}
	}
	ip(t, "addr", "add", "10.9.0.1/24", "dev", "eth1") // the administrator's own: not ours to remove
	if l, err = Ensure(t.Context(), spec); err != nil || len(l.Changes) != 0 {
		t.Errorf("with the address there: %+v, %v", l, err)
	}
	if err := Remove(t.Context(), spec); err != nil || !strings.Contains(addresses(t, "eth1"), "10.9.0.1/24") {
		t.Errorf("another's address was removed (%v)", err)
	}
}

// TestStale has the declaration change between two starts: what the first made is
// taken back, and nothing else.
func TestStale(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	for _, name := range []string{"eth1", "eth1.40", "eth1.41", "lan"} {
		ip(t, "link", "add", name, "type", "veth", "peer", "name", name+"-far")
	}
	ip(t, "link", "set", "eth1.40", "alias", markInterface) // as if made as VLANs
	ip(t, "link", "set", "eth1.41", "alias", markInterface)
	ip(t, "addr", "add", "10.9.0.1/24", "dev", "eth1.40")
	ip(t, "addr", "add", "10.9.0.1/24", "dev", "eth1.41")
	ip(t, "link", "set", "lan", "alias", "gantry address of the office")
	ip(t, "addr", "add", "192.0.2.7/32", "dev", "eth1")
	if _, err := Ensure(t.Context(), Spec{Device: "eth1", Address: netip.MustParsePrefix("10.8.0.1/24")}); err != nil {
		t.Fatal(err)
	}

	now := Spec{Parent: "eth1", VLAN: 41, Address: netip.MustParsePrefix("10.9.0.1/24")}
	done, err := RemoveStale(t.Context(), now)
	slices.Sort(done)
	if d := cmp.Diff([]string{"removed the address 10.8.0.1/24 of eth1", "removed the interface eth1.40"}, done); d != "" || err != nil {
		t.Errorf("%s %v", d, err)
	}
	if got := addresses(t, "eth1"); got != "192.0.2.7/32" {
		t.Errorf("eth1 has %q, want the administrator's address alone", got)
	}
	if _, err := netlink.LinkByName("lan"); err != nil || addresses(t, "eth1.41") != "10.9.0.1/24" {
		t.Errorf("what is declared, or another's, is gone: %v", err)
	}
	if done, err := RemoveStale(t.Context(), now); len(done) != 0 || err != nil {
		t.Errorf("again: %v, %v", done, err)
	}
	now.Address = netip.MustParsePrefix("10.9.0.2/24")
	if done, err := RemoveStale(t.Context(), now); len(done) != 1 || err != nil {
		t.Errorf("another address of the same VLAN: %v, %v", done, err)
	}
	untagged := Spec{Device: "eth1", Address: netip.MustParsePrefix("10.8.0.1/24")}
	if _, err := Ensure(t.Context(), untagged); err != nil {
		t.Fatal(err)
	}
	if done, err := RemoveStale(t.Context(), untagged); len(done) != 0 || err != nil {
		t.Errorf("what is declared was removed: %v, %v", done, err)
	}
}

// states collects what Watch reports.
type states struct {
	t  *testing.T
	ch chan State
}

func watch(t *testing.T, spec Spec) states {
	t.Helper()
	s := states{t, make(chan State, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Watch(ctx, spec, func(st State) { s.ch <- st }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// next returns the first state that ok accepts.
func (s states) next(what string, ok func(State) bool) State {
	s.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case st := <-s.ch:
			s.t.Logf("state: %v, error %v", st.Link.Changes, st.Err)
			if ok(st) {
				return st
			}
		case <-timeout:
			s.t.Fatalf("Watch did not report %s", what)
		}
	}
}

func changed(part string) func(State) bool {
	return func(s State) bool { return strings.Contains(strings.Join(s.Link.Changes, ", "), part) }
}

// TestWatchRepairs takes things away from under a device.
func TestWatchRepairs(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	spec := Spec{Device: "eth1", Address: netip.MustParsePrefix("10.9.0.1/24"), MTU: 1400}
	s := watch(t, spec)
	s.next("the missing device", func(s State) bool { return s.Err != nil && strings.Contains(s.Err.Error(), "eth1") })
	ip(t, "link", "add", "eth1", "type", "veth", "peer", "name", "far")
	s.next("the address", changed("added address"))
	ip(t, "link", "set", "far", "up")
	s.next("the carrier", func(s State) bool { return s.Link.Carrier })
	ip(t, "addr", "del", "10.9.0.1/24", "dev", "eth1")
	s.next("the address's repair", changed("added address"))
	ip(t, "link", "set", "eth1", "mtu", "1300")
	s.next("the MTU's repair", changed("set MTU 1400, was 1300"))
	ip(t, "link", "set", "eth1", "down")
	s.next("set up again", changed("set eth1 up"))
	ip(t, "link", "set", "far", "down")
	s.next("the lost carrier", func(s State) bool { return s.Err == nil && !s.Link.Carrier })
	ip(t, "link", "del", "eth1")
	s.next("the lost device", func(s State) bool { return s.Err != nil })
}
