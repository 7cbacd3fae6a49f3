package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	offerT   = dhcpv4.MessageTypeOffer
	requestT = dhcpv4.MessageTypeRequest
	ackT     = dhcpv4.MessageTypeAck
	nakT     = dhcpv4.MessageTypeNak
)

func TestOfferAndAck(t *testing.T) {
	p := newPod(t, testConfig())
	offer := p.wantType(p.discover(mac(1), dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionNTPServers, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionBroadcastAddress)), offerT)
	if len(p.disk.records) != 0 {
		t.Errorf("an offer was made durable: %v", p.disk.records)
	}
	got := map[string]string{
		"yiaddr": offer.YourIPAddr.String(), "server": offer.ServerIdentifier().String(), "mask": net.IP(offer.SubnetMask()).String(),
		"router": offer.Router()[0].String(), "dns": offer.DNS()[0].String() + " " + offer.DNS()[1].String(), "domain": offer.DomainName(),
		"ntp": offer.NTPServers()[0].String(), "broadcast": dhcpv4.GetIP(dhcpv4.OptionBroadcastAddress, offer.Options).String(),
		"mtu":   fmt.Sprintf("%x", offer.GetOneOption(dhcpv4.OptionInterfaceMTU)),
		"lease": offer.IPAddressLeaseTime(0).String(), "t1": offer.IPAddressRenewalTime(0).String(), "t2": offer.IPAddressRebindingTime(0).String(),
	}
	want := map[string]string{"yiaddr": "10.0.0.100", "server": "10.0.0.1", "mask": "255.255.255.0", "router": "10.0.0.1", "dns": "10.0.0.2 10.0.0.3",
		"domain": "pod.example", "ntp": "10.0.0.4", "broadcast": "10.0.0.255", "mtu": "2328", "lease": "12h0m0s", "t1": "6h0m0s", "t2": "10h30m0s"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("offer (-want +got):\n%s", d)
	}
	p.wantType(p.send(p.request(mac(1), offer)), ackT)
	r := p.disk.records[ip("10.0.0.100")]
	if r.MAC != mac(1) || r.State != Bound || !r.Expiry.Equal(epoch.Add(12*time.Hour)) {
		t.Errorf("record of the lease: %+v", r)
	}
}

// TestDestination holds RFC 2131, section 4.1: who gets its answer where.
func TestDestination(t *testing.T) {
	bcast := func(d *dhcpv4.DHCPv4) { d.SetBroadcast() }
	for _, row := range []struct {
		name string
		mods []dhcpv4.Modifier
		want dest
	}{
		{"no address yet", nil, dest{addr: u32Of(ip("10.0.0.100")), port: 68, link: true, mac: mac(1)}},
		{"no address, broadcast flag", []dhcpv4.Modifier{bcast}, dest{addr: 0xffffffff, port: 68}},
		{"relayed", []dhcpv4.Modifier{withRelay("10.1.0.1")}, dest{addr: u32Of(ip("10.1.0.1")), port: 67}},
		{"relayed beats the broadcast flag", []dhcpv4.Modifier{withRelay("10.1.0.1"), bcast}, dest{addr: u32Of(ip("10.1.0.1")), port: 67}},
		{"has an address", []dhcpv4.Modifier{withCiaddr("10.0.0.77")}, dest{addr: u32Of(ip("10.0.0.77")), port: 68}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPod(t, testConfig())
			p.wantType(p.discover(mac(1), row.mods...), offerT)
			if p.dest != row.want {
				t.Errorf("sent to %+v, want %+v", p.dest, row.want)
			}
		})
	}
}

// TestRequest holds RFC 2131, section 4.3.2: the kinds of request, each against
// a lease of 10.0.0.100 by machine 1 and of 10.0.0.101 by machine 2.
func TestRequest(t *testing.T) {
	for _, row := range []struct {
		name  string
		who   MAC
		after time.Duration
		mods  []dhcpv4.Modifier
		want  dhcpv4.MessageType // None is silence
		to    uint32
	}{
		{"selecting ours", mac(1), 0, []dhcpv4.Modifier{withServer("10.0.0.1"), withRequested("10.0.0.100")}, ackT, u32Of(ip("10.0.0.100"))},
		{"selecting another's address", mac(1), 0, []dhcpv4.Modifier{withServer("10.0.0.1"), withRequested("10.0.0.101")}, nakT, 0xffffffff},
		{"selecting another server", mac(1), 0, []dhcpv4.Modifier{withServer("10.0.0.9"), withRequested("10.0.0.100")}, 0, 0},
		{"selecting a free address after our restart", mac(3), 0, []dhcpv4.Modifier{withServer("10.0.0.1"), withRequested("10.0.0.105")}, ackT, u32Of(ip("10.0.0.105"))},
		{"selecting an address outside the pools", mac(3), 0, []dhcpv4.Modifier{withServer("10.0.0.1"), withRequested("10.0.0.7")}, nakT, 0xffffffff},
		{"init-reboot", mac(1), 0, []dhcpv4.Modifier{withRequested("10.0.0.100")}, ackT, u32Of(ip("10.0.0.100"))},
		{"init-reboot, another's", mac(1), 0, []dhcpv4.Modifier{withRequested("10.0.0.101")}, nakT, 0xffffffff},
		{"init-reboot, from another network", mac(1), 0, []dhcpv4.Modifier{withRequested("192.168.7.7")}, nakT, 0xffffffff},
		{"init-reboot behind a relay, wrong network", mac(1), 0, []dhcpv4.Modifier{withRelay("10.1.0.1"), withRequested("10.0.0.100")}, nakT, u32Of(ip("10.1.0.1"))},
		{"renew", mac(1), 6 * time.Hour, []dhcpv4.Modifier{withCiaddr("10.0.0.100")}, ackT, u32Of(ip("10.0.0.100"))},
		{"renew long after the lease, still free", mac(1), 48 * time.Hour, []dhcpv4.Modifier{withCiaddr("10.0.0.100")}, ackT, u32Of(ip("10.0.0.100"))},
		{"renew another's", mac(1), 0, []dhcpv4.Modifier{withCiaddr("10.0.0.101")}, nakT, 0xffffffff},
		{"rebind with the broadcast flag", mac(1), 11 * time.Hour, []dhcpv4.Modifier{withCiaddr("10.0.0.100"), dhcpv4.WithBroadcast(true)}, ackT, u32Of(ip("10.0.0.100"))},
		{"rebind with an address of elsewhere", mac(3), 0, []dhcpv4.Modifier{withCiaddr("172.16.0.9")}, nakT, 0xffffffff},
		{"neither address nor server", mac(1), 0, nil, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPod(t, testConfig())
			p.acquire(mac(1))
			p.acquire(mac(2))
			p.now = p.now.Add(row.after)
			got := p.send(p.packet(row.who, requestT, row.mods...))
			if row.want == 0 {
				if got != nil {
					t.Fatalf("answered %v, want silence", got.MessageType())
				}
				return
			}
			p.wantType(got, row.want)
			if p.dest.addr != row.to {
				t.Errorf("sent to %v, want %v", addrOf(p.dest.addr), addrOf(row.to))
			}
			if row.want == nakT && (!got.YourIPAddr.IsUnspecified() || got.IPAddressLeaseTime(0) != 0) {
				t.Errorf("a DHCPNAK with an address or a lease:\n%s", got.Summary())
			}
			if row.want == nakT && !got.GatewayIPAddr.IsUnspecified() && !got.IsBroadcast() {
				t.Error("a relayed DHCPNAK without the broadcast flag")
			}
		})
	}
}

func TestSameMachineKeepsItsAddressAcrossPXEAndSystem(t *testing.T) {
	p := newPod(t, testConfig())
	p.oracle.want[mac(1)] = boot.WantScript
	rom := p.acquire(mac(1), withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC), dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte("\x00rom-uuid"))))
	ipxe := p.acquire(mac(1), withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC), withIPXE)
	system := p.acquire(mac(1), dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{0xff, 1, 2, 3, 4, 0, 1})))
	if rom != ipxe || ipxe != system {
		t.Errorf("the same machine got %s, %s, %s", rom, ipxe, system)
	}
	if n := len(p.disk.records); n != 1 {
		t.Errorf("%d addresses used by one machine", n)
	}
}

func TestBootAnswer(t *testing.T) {
	for _, row := range []struct {
		name  string
		mods  []dhcpv4.Modifier
		file  string
		class string
		lease time.Duration
	}{
		{"BIOS", []dhcpv4.Modifier{withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC)}, "undionly.kpxe", "PXEClient", 15 * time.Minute},
		{"UEFI", []dhcpv4.Modifier{withClass("PXEClient:Arch:00007:UNDI:003000", iana.EFI_X86_64)}, "snponly.efi", "PXEClient", 15 * time.Minute},
		{"UEFI HTTP", []dhcpv4.Modifier{withClass("HTTPClient:Arch:00016:UNDI:003000", iana.EFI_X86_64_HTTP)}, "http://10.0.0.1:8080/boot/loader/snponly.efi", "HTTPClient", 15 * time.Minute},
		{"iPXE", []dhcpv4.Modifier{withClass("PXEClient:Arch:00007:UNDI:003000", iana.EFI_X86_64), withIPXE}, "http://10.0.0.1:8080/boot/52-54-00-00-00-01.ipxe", "", 15 * time.Minute},
		{"installed system", nil, "", "", 12 * time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPod(t, testConfig())
			p.oracle.want[mac(1)] = boot.WantScript
			uuid := append([]byte{0}, []byte("0123456789abcdef")...)
			offer := p.wantType(p.discover(mac(1), append(row.mods, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, uuid))...), offerT)
			if offer.BootFileName != row.file || offer.ClassIdentifier() != row.class || offer.IPAddressLeaseTime(0) != row.lease {
				t.Errorf("file %q, class %q, lease %v; want %q, %q, %v", offer.BootFileName, offer.ClassIdentifier(), offer.IPAddressLeaseTime(0), row.file, row.class, row.lease)
			}
			boots := row.file != ""
			if got := offer.ServerIPAddr.Equal(net.IPv4(10, 0, 0, 1)); got != boots {
				t.Errorf("next server %v", offer.ServerIPAddr)
			}
			if got := string(offer.GetOneOption(dhcpv4.OptionClientMachineIdentifier)) == string(uuid); got != boots {
				t.Errorf("option 97 echoed: %v", got)
			}
			vendor := offer.GetOneOption(dhcpv4.OptionVendorSpecificInformation)
			if got := string(vendor) == "\x06\x01\x08\xff"; got != (row.class == "PXEClient") {
				t.Errorf("option 43 is %x", vendor)
			}
			ipxe := offer.GetOneOption(dhcpv4.GenericOptionCode(175))
			if got := string(ipxe) == "\xb0\x01\x01"; got != (row.name == "iPXE") {
				t.Errorf("option 175 is %x", ipxe)
			}
			if e := p.events[0]; e.Kind != Offered || e.Boot.File != row.file || e.Client.UUID != "30313233-3435-3637-3839-616263646566" {
				t.Errorf("event %+v", e)
			}
		})
	}
}

func TestReservation(t *testing.T) {
	p := newPod(t, testConfig())
	p.oracle.hosts[mac(1)] = Reservation{Addr: ip("10.0.0.20"), Hostname: "web1"}
	p.oracle.hosts[mac(2)] = Reservation{Addr: ip("10.0.0.100")} // inside the pool
	if got := p.acquire(mac(3)); got != "10.0.0.101" {
		t.Errorf("an unknown machine got %s, want the first address that nobody reserved", got)
	}
	offer := p.discover(mac(1))
	if offer.YourIPAddr.String() != "10.0.0.20" || offer.HostName() != "web1" {
		t.Errorf("offered %v as %q, want the reservation", offer.YourIPAddr, offer.HostName())
	}
	if got := p.acquire(mac(1)); got != "10.0.0.20" {
		t.Errorf("got %s, want the reservation", got)
	}
	if got := p.acquire(mac(2)); got != "10.0.0.100" {
		t.Errorf("got %s, want the reservation inside the pool", got)
	}
	if got := p.acquire(mac(1), withRelay("10.1.0.1")); got != "10.1.0.10" {
		t.Errorf("got %s on another subnet, want a dynamic address", got)
	}
	p.wantType(p.send(p.packet(mac(3), requestT, withRequested("10.0.0.100"))), nakT)
	p.restart()
	if got := p.acquire(mac(1)); got != "10.0.0.20" {
		t.Errorf("after a restart got %s, want the reservation", got)
	}
}

// TestReservationMade is a machine accepted while its system runs: it keeps its
// address until it boots.
func TestReservationMade(t *testing.T) {
	p := newPod(t, testConfig())
	p.acquire(mac(1))
	p.oracle.hosts[mac(1)] = Reservation{Addr: ip("10.0.0.20")}
	p.wantType(p.send(p.packet(mac(1), requestT, withCiaddr("10.0.0.100"))), ackT)
	p.wantType(p.send(p.packet(mac(1), requestT, withRequested("10.0.0.100"))), nakT)
	if got := p.acquire(mac(1)); got != "10.0.0.20" {
		t.Fatalf("after its boot got %s, want the reservation", got)
	}
	if r := p.disk.records[ip("10.0.0.100")]; r.State != Released {
		t.Errorf("the address it left is %v in the journal", r.State)
	}
	if got := p.acquire(mac(2), withRequested("10.0.0.100")); got != "10.0.0.100" {
		t.Errorf("the address that was left is not given out again: %s", got)
	}
}

func TestDecline(t *testing.T) {
	p := newPod(t, testConfig())
	addr := p.acquire(mac(1))
	decline := p.packet(mac(1), dhcpv4.MessageTypeDecline, withServer("10.0.0.1"), withRequested(addr))
	forged := p.packet(mac(2), dhcpv4.MessageTypeDecline, withServer("10.0.0.1"), withRequested(addr))
	if p.send(forged) != nil || p.disk.records[ip(addr)].State != Bound {
		t.Fatal("a DHCPDECLINE of another machine's address was believed")
	}
	if p.send(decline) != nil {
		t.Fatal("a DHCPDECLINE was answered")
	}
	if s := p.disk.records[ip(addr)].State; s != Declined {
		t.Fatalf("record says %v", s)
	}
	p.restart()
	if got := p.acquire(mac(1)); got == addr {
		t.Errorf("the declined address was given out again at once")
	}
	p.now = p.now.Add(11 * time.Minute)
	if got := p.acquire(mac(3), withRequested(addr)); got != addr {
		t.Errorf("after its quarantine the address is not given out: %s", got)
	}
}

func TestRelease(t *testing.T) {
	p := newPod(t, testConfig())
	addr := p.acquire(mac(1))
	p.send(p.packet(mac(2), dhcpv4.MessageTypeRelease, withServer("10.0.0.1"), withCiaddr(addr)))
	if p.disk.records[ip(addr)].State != Bound {
		t.Fatal("a DHCPRELEASE by another machine was believed")
	}
	p.send(p.packet(mac(1), dhcpv4.MessageTypeRelease, withServer("10.0.0.1"), withCiaddr(addr)))
	if p.disk.records[ip(addr)].State != Released {
		t.Fatal("not released")
	}
	p.restart()
	if got := p.acquire(mac(1)); got != addr {
		t.Errorf("the machine did not find its address again: %s", got)
	}
}

// TestForgedRelease has a host of our own network name itself a relay.
func TestForgedRelease(t *testing.T) {
	p := newPod(t, testConfig())
	near, far := p.acquire(mac(1)), p.acquire(mac(2), withRelay("10.1.0.1"))
	release := func(m MAC, addr, relay, src string) State {
		p.sendFrom(netip.AddrPortFrom(ip(src), 67), p.packet(m, dhcpv4.MessageTypeRelease, withServer("10.0.0.1"), withCiaddr(addr), withRelay(relay)))
		return p.disk.records[ip(addr)].State
	}
	for _, row := range []struct {
		mac              MAC
		addr, relay, src string
		want             State
	}{
		{mac(1), near, "10.0.0.66", "10.0.0.66", Bound},
		{mac(1), near, "10.1.0.1", "10.0.0.66", Bound},
		{mac(2), far, "10.0.0.66", "10.0.0.66", Bound},
		{mac(2), far, "10.1.0.1", "10.0.0.66", Bound},
		{mac(2), far, "10.1.0.1", "10.1.0.1", Released},
		{mac(1), near, "10.0.0.66", near, Released},
	} {
		if got := release(row.mac, row.addr, row.relay, row.src); got != row.want {
			t.Errorf("release of %s from %s through %s: %v, want %v", row.addr, row.src, row.relay, got, row.want)
		}
	}
}

// TestReservationIsNotDeclined: whoever writes a DHCPDECLINE in a machine's name
// does not cut it off, and someone is told.
func TestReservationIsNotDeclined(t *testing.T) {
	p := newPod(t, testConfig())
	p.oracle.hosts[mac(1)] = Reservation{Addr: ip("10.0.0.20")}
	addr := p.acquire(mac(1))
	p.send(p.packet(mac(1), dhcpv4.MessageTypeDecline, withServer("10.0.0.1"), withRequested(addr)))
	if e := p.events[len(p.events)-1]; e.Kind != InUse || e.Addr != ip(addr) || e.MAC != mac(1) {
		t.Errorf("event %+v, want that the address is in use", e)
	}
	p.wantType(p.send(p.packet(mac(1), requestT, withCiaddr(addr))), ackT)
	if got := p.acquire(mac(1)); got != addr {
		t.Errorf("got %s after the decline, want the reservation", got)
	}
}

// TestMovedLeaseSurvives: a machine that may not have its old address any more
// keeps the new one across a restart, though the old lease would last longer.
func TestMovedLeaseSurvives(t *testing.T) {
	p := newPod(t, testConfig())
	p.oracle.hosts[mac(1)] = Reservation{Addr: ip("10.0.0.20")}
	old := p.acquire(mac(1))
	delete(p.oracle.hosts, mac(1))
	pxe := withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC)
	addr := p.acquire(mac(1), pxe)
	if addr == old {
		t.Fatalf("still at %s", old)
	}
	p.restart()
	p.wantType(p.send(p.packet(mac(1), requestT, withCiaddr(addr))), ackT)
	p.oracle.hosts[mac(2)] = Reservation{Addr: ip(old)}
	if got := p.acquire(mac(2)); got == old {
		t.Errorf("%s is given out while its lease lasts", old)
	}
}

// TestClockWasWrong: a lease that was written when the clock was years ahead does
// not hold its address for years.
func TestClockWasWrong(t *testing.T) {
	p := newPod(t, testConfig())
	p.now = epoch.AddDate(10, 0, 0)
	addr := p.acquire(mac(1))
	p.now = epoch
	p.restart()
	p.wantType(p.send(p.packet(mac(1), requestT, withCiaddr(addr))), ackT)
	p.now = p.now.Add(-time.Hour)
	p.restart()
	p.now = p.now.Add(oldLease + time.Hour)
	if got := p.acquire(mac(2), withRequested(addr)); got != addr {
		t.Errorf("%s is still held: %s", addr, got)
	}
}

func TestInform(t *testing.T) {
	p := newPod(t, testConfig())
	ack := p.wantType(p.send(p.packet(mac(1), dhcpv4.MessageTypeInform, withCiaddr("10.0.0.50"))), ackT)
	if !ack.YourIPAddr.IsUnspecified() || ack.IPAddressLeaseTime(0) != 0 || len(ack.DNS()) != 2 || len(p.disk.records) != 0 {
		t.Errorf("answer to an inform:\n%s", ack.Summary())
	}
	if p.dest != (dest{addr: u32Of(ip("10.0.0.50")), port: 68}) {
		t.Errorf("sent to %+v", p.dest)
	}
}

func TestPoolExhaustion(t *testing.T) {
	p := newPod(t, testConfig())
	for i := range byte(10) {
		p.discover(mac(100 + i)) // forged: never requested
	}
	if p.discover(mac(1)) != nil {
		t.Fatal("an eleventh offer from ten addresses")
	}
	if e := p.events[len(p.events)-1]; e.Kind != Exhausted || e.MAC != mac(1) {
		t.Errorf("event %+v, want exhausted", e)
	}
	p.now = p.now.Add(3 * time.Second)
	if got := p.acquire(mac(1)); got == "" {
		t.Error("offers of three seconds ago still keep a client out")
	}
	for i := range byte(9) {
		p.now = p.now.Add(11 * time.Second)
		if got := p.acquire(mac(2 + i)); got == "" {
			t.Errorf("client %d got no address after the offers ended", i+2)
		}
	}
	p.now = p.now.Add(11 * time.Second)
	if got := p.acquire(mac(50)); got != "" {
		t.Errorf("an eleventh lease, %s, from ten addresses", got)
	}
	p.now = epoch.Add(12*time.Hour + 5*time.Second)
	if got, want := p.acquire(mac(50)), p.e.table.of(clientOf(mac(1), 0)); got == "" || want != none {
		t.Errorf("the ended lease was not reused: %q, %d", got, want)
	}
}

func TestRelayOptions(t *testing.T) {
	p := newPod(t, testConfig())
	sub := func(b ...byte) dhcpv4.Modifier { return dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, b) }
	echoed := func(r *dhcpv4.DHCPv4, want ...byte) {
		t.Helper()
		if got := r.GetOneOption(dhcpv4.OptionRelayAgentInformation); string(got) != string(want) {
			t.Errorf("option 82 echoed as %x, want %x", got, want)
		}
	}
	circuit := []byte{1, 4, 'e', 't', 'h', '7'}
	r := p.wantType(p.discover(mac(1), withRelay("10.1.0.1"), sub(circuit...)), offerT)
	echoed(r, circuit...)
	if r.YourIPAddr.String() != "10.1.0.10" {
		t.Errorf("offered %v, want an address of the relay's network", r.YourIPAddr)
	}
	// RFC 3527: the link is not where the relay is.
	link := []byte{5, 4, 10, 1, 0, 0}
	r = p.wantType(p.discover(mac(2), withRelay("10.0.0.254"), sub(link...)), offerT)
	echoed(r, link...)
	if r.YourIPAddr.String() != "10.1.0.11" || p.dest.addr != u32Of(ip("10.0.0.254")) {
		t.Errorf("offered %v to %v, want the link's network and the relay", r.YourIPAddr, addrOf(p.dest.addr))
	}
	// RFC 3011.
	r = p.wantType(p.discover(mac(3), withRelay("10.0.0.254"), dhcpv4.WithGeneric(dhcpv4.OptionSubnetSelection, []byte{10, 1, 0, 0})), offerT)
	if r.YourIPAddr.String() != "10.1.0.12" || len(r.GetOneOption(dhcpv4.OptionSubnetSelection)) != 4 {
		t.Errorf("subnet selection: offered %v", r.YourIPAddr)
	}
	// RFC 5107: the relay poses as the server.
	override := []byte{11, 4, 10, 1, 0, 1}
	r = p.wantType(p.discover(mac(4), withRelay("10.1.0.1"), sub(override...)), offerT)
	if r.ServerIdentifier().String() != "10.1.0.1" {
		t.Errorf("server identifier %v, want the relay's", r.ServerIdentifier())
	}
	p.wantType(p.send(p.request(mac(4), r, withRelay("10.1.0.1"), sub(override...))), ackT)
	// RFC 8357.
	p.wantType(p.discover(mac(5), withRelay("10.1.0.1"), sub(19, 0)), offerT)
	if p.dest.port != 68 {
		t.Errorf("sent to port %d, want the relay's source port", p.dest.port)
	}
	if p.discover(mac(6), withRelay("172.16.0.1")) != nil || p.e.stats.NoSubnet.Load() != 1 {
		t.Error("a relay of a network that is not served was answered")
	}
}

func TestRelayOptionIsLastAndRepliesFit(t *testing.T) {
	cfg := testConfig()
	p := newPod(t, cfg)
	p.oracle.hosts[mac(1)] = Reservation{Hostname: string(make([]byte, 200))}
	info := append([]byte{1, 250}, make([]byte, 250)...)
	m := p.packet(mac(1), dhcpv4.MessageTypeDiscover, withRelay("10.0.0.254"), dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, info),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(make([]byte, 200))))
	var d decision
	out := make([]byte, maxReply)
	p.e.handle(m.ToBytes(), netip.AddrPort{}, p.now, out, &d)
	if d.n == 0 || d.n > safeReply {
		t.Fatalf("reply of %d bytes, want at most %d", d.n, safeReply)
	}
	var last byte
	for b := out[offOpts:d.n]; len(b) > 1 && b[0] != optEnd; b = b[2+int(b[1]):] {
		last = b[0]
	}
	if last != optRelay {
		t.Errorf("the last option is %d, want 82", last)
	}
}

func TestClientRate(t *testing.T) {
	cfg := testConfig()
	cfg.ClientRate, cfg.ClientBurst = 8, 24
	p := newPod(t, cfg)
	answered := 0
	for range 1000 {
		if p.discover(mac(1)) != nil {
			answered++
		}
	}
	if answered != 24 {
		t.Errorf("%d of 1000 packets at once answered, want 24", answered)
	}
	if p.discover(mac(2)) == nil {
		t.Error("another client suffers from it")
	}
	p.now = p.now.Add(time.Second)
	answered = 0
	for range 1000 {
		if p.discover(mac(1)) != nil {
			answered++
		}
	}
	if answered != 8 {
		t.Errorf("%d answered a second later, want 8", answered)
	}
}

func TestProxy(t *testing.T) {
	p := newPod(t, Config{Interface: "lo", Addr: ip("10.0.0.1"), Proxy: true, ClientBurst: 250})
	p.oracle.want[mac(1)] = boot.WantScript
	pxe := withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC)
	if p.discover(mac(1)) != nil {
		t.Error("an installed system was answered")
	}
	if p.discover(mac(2), pxe) != nil {
		t.Error("a machine that is not ours was answered")
	}
	offer := p.wantType(p.discover(mac(1), pxe), offerT)
	if !offer.YourIPAddr.IsUnspecified() || offer.IPAddressLeaseTime(0) != 0 || offer.BootFileName != "undionly.kpxe" || offer.ClassIdentifier() != "PXEClient" {
		t.Errorf("offer:\n%s", offer.Summary())
	}
	if p.send(p.packet(mac(1), requestT, pxe, withServer("10.0.0.2"), withRequested("10.0.0.7"))) != nil {
		t.Error("a request to the real server was answered")
	}
	ipxe := p.wantType(p.discover(mac(1), pxe, withIPXE), offerT)
	if ipxe.ClassIdentifier() != "PXEClient" || ipxe.BootFileName == "" {
		t.Errorf("iPXE's offer:\n%s", ipxe.Summary())
	}
	var d decision
	out := make([]byte, maxReply)
	src := netip.MustParseAddrPort("10.0.0.77:4011")
	p.e.handleBoot(p.packet(mac(1), requestT, pxe, withCiaddr("10.0.0.77")).ToBytes(), src, p.now, out, &d)
	ack, err := dhcpv4.FromBytes(out[:d.n])
	if err != nil || ack.MessageType() != ackT || ack.BootFileName != "undionly.kpxe" || d.dest != (dest{addr: u32Of(src.Addr()), port: 4011}) {
		t.Errorf("boot server's answer to %+v: %v, %v", d.dest, ack, err)
	}
}
