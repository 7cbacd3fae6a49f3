package dhcp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// known is an oracle over maps.
type known struct {
	mu    sync.Mutex
	hosts map[MAC]Reservation
	want  map[MAC]boot.Want
}

func (k *known) Host(mac MAC) (Reservation, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.hosts[mac]
	return r, ok
}

func (k *known) Reserved(addr netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.hosts {
		if r.Addr == addr {
			return true
		}
	}
	return false
}

func (k *known) Want(mac MAC) boot.Want {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want[mac]
}

// memory is a journal that forgets nothing and can be told to fail.
type memory struct {
	mu      sync.Mutex
	records map[netip.Addr]Record
	fail    error
}

func newMemory() *memory { return &memory{records: map[netip.Addr]Record{}} }

func (j *memory) Commit(_ context.Context, records []Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	for _, r := range records {
		j.records[r.Addr] = r
	}
	return nil
}

func (j *memory) Load(_ context.Context, fn func(Record) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(n byte) MAC { return MAC{0x52, 0x54, 0, 0, 0, n} }

var epoch = time.Unix(1_800_000_000, 0)

// testConfig has our own network with ten dynamic addresses, and one behind a
// relay.
func testConfig() Config {
	return Config{
		Interface: "lo", Addr: ip("10.0.0.1"), ClientBurst: 250, ClientRate: 1000,
		Boot: boot.Server{HTTPPort: 8080},
		Subnets: []Subnet{
			{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Pools: []Range{{ip("10.0.0.100"), ip("10.0.0.109")}},
				Routers: []netip.Addr{ip("10.0.0.1")}, DNS: []netip.Addr{ip("10.0.0.2"), ip("10.0.0.3")}, NTP: []netip.Addr{ip("10.0.0.4")},
				Domain: "pod.example", MTU: 9000},
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Pools: []Range{{ip("10.1.0.10"), ip("10.1.0.19")}}},
		},
	}
}

// pod is an engine with its journal, driven packet by packet.
type pod struct {
	t      *testing.T
	e      *engine
	oracle *known
	disk   *memory
	now    time.Time
	events []Event
	dest   dest
}

func newPod(t *testing.T, cfg Config) *pod {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, oracle: &known{hosts: map[MAC]Reservation{}, want: map[MAC]boot.Want{}}, disk: newMemory(), now: epoch}
	p.e = newEngine(cfg.withDefaults(), p.oracle, &Stats{}, true)
	return p
}

// restart throws the engine away and makes one of what is in the journal.
func (p *pod) restart() {
	p.e = newEngine(p.e.cfg, p.oracle, &Stats{}, true)
	var records []Record
	for _, r := range p.disk.records {
		records = append(records, r)
	}
	p.e.restore(records, p.now)
}

// send has one packet handled and returns the answer, read by the library, or nil.
func (p *pod) send(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	p.t.Helper()
	src := netip.AddrPortFrom(netip.IPv4Unspecified(), 68)
	if a, ok := netip.AddrFromSlice(m.ClientIPAddr.To4()); ok && m.GatewayIPAddr.IsUnspecified() {
		src = netip.AddrPortFrom(a, 68)
	} else if a, ok := netip.AddrFromSlice(m.GatewayIPAddr.To4()); ok {
		src = netip.AddrPortFrom(a, 68)
	}
	return p.sendFrom(src, m)
}

// sendFrom is send from an address that the packet need not name.
func (p *pod) sendFrom(src netip.AddrPort, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	p.t.Helper()
	var d decision
	out := make([]byte, maxReply)
	p.e.handle(m.ToBytes(), src, p.now, out, &d)
	if err := p.disk.Commit(context.Background(), d.records[:d.nrecords]); err != nil {
		p.t.Fatal(err)
	}
	if d.event.Kind != 0 {
		p.events = append(p.events, d.event)
	}
	if d.n == 0 {
		return nil
	}
	p.dest = d.dest
	r, err := dhcpv4.FromBytes(out[:d.n])
	if err != nil {
		p.t.Fatalf("the library cannot read our reply: %v", err)
	}
	if r.TransactionID != m.TransactionID || r.ClientHWAddr.String() != m.ClientHWAddr.String() || r.OpCode != dhcpv4.OpcodeBootReply {
		p.t.Fatalf("reply is not for the request:\n%s", r.Summary())
	}
	return r
}

func (p *pod) packet(m MAC, typ dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p.t.Helper()
	all := append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(net.HardwareAddr(m[:])), dhcpv4.WithMessageType(typ)}, mods...)
	r, err := dhcpv4.New(all...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *pod) discover(m MAC, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p.t.Helper()
	return p.send(p.packet(m, dhcpv4.MessageTypeDiscover, mods...))
}

// acquire goes through a whole exchange and returns the address, or "".
func (p *pod) acquire(m MAC, mods ...dhcpv4.Modifier) string {
	p.t.Helper()
	offer := p.discover(m, mods...)
	if offer == nil {
		return ""
	}
	ack := p.send(p.request(m, offer, mods...))
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		p.t.Fatalf("offer of %v was not acknowledged: %v", offer.YourIPAddr, ack)
	}
	if !ack.YourIPAddr.Equal(offer.YourIPAddr) {
		p.t.Fatalf("offered %v, acknowledged %v", offer.YourIPAddr, ack.YourIPAddr)
	}
	return ack.YourIPAddr.String()
}

func (p *pod) request(m MAC, offer *dhcpv4.DHCPv4, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	return p.packet(m, dhcpv4.MessageTypeRequest, append([]dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))}, mods...)...)
}

func withRequested(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func withServer(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func withCiaddr(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }
func withRelay(a string) dhcpv4.Modifier  { return dhcpv4.WithRelay(net.ParseIP(a)) }

func withClass(class string, arch iana.Arch) dhcpv4.Modifier {
	return func(d *dhcpv4.DHCPv4) {
		d.UpdateOption(dhcpv4.OptClassIdentifier(class))
		d.UpdateOption(dhcpv4.OptClientArch(arch))
	}
}

func withIPXE(d *dhcpv4.DHCPv4) {
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
}

func (p *pod) wantType(r *dhcpv4.DHCPv4, typ dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	p.t.Helper()
	if r == nil {
		p.t.Fatalf("no answer, want %v", typ)
	}
	if r.MessageType() != typ {
		p.t.Fatalf("answer is %v (%q), want %v", r.MessageType(), r.Message(), typ)
	}
	return r
}
