package dhcp

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// held is what a client believes: that it has addr until expiry.
type held struct {
	addr   string
	expiry time.Time
}

// TestNoAddressTwice lets many clients discover, request, renew, reboot,
// release and decline at random, with restarts between, and holds that no
// address is acknowledged to one client while another's lease of it lasts.
func TestNoAddressTwice(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := newPod(t, testConfig())
		p.oracle.hosts[mac(1)] = Reservation{Addr: ip("10.0.0.20")}
		p.oracle.hosts[mac(2)] = Reservation{Addr: ip("10.0.0.104")}
		type seat struct {
			mac   MAC
			relay bool
		}
		has := map[seat]held{}
		acked := func(s seat, r *dhcpv4.DHCPv4) {
			addr := r.YourIPAddr.String()
			for other, h := range has {
				if other.mac != s.mac && h.addr == addr && h.expiry.After(p.now) {
					t.Fatalf("seed %d: %s acknowledged to %v while %v has it until %v (now %v)", seed, addr, s.mac, other.mac, h.expiry, p.now)
				}
			}
			has[s] = held{addr, p.now.Add(r.IPAddressLeaseTime(0))}
		}
		for range 600 {
			s := seat{mac(byte(1 + rnd.IntN(16))), rnd.IntN(4) == 0}
			var mods []dhcpv4.Modifier
			if s.relay {
				mods = append(mods, withRelay("10.1.0.1"))
			}
			h := has[s]
			switch rnd.IntN(13) {
			case 12: // a reservation comes or goes
				if _, ok := p.oracle.hosts[mac(2)]; ok {
					delete(p.oracle.hosts, mac(2))
				} else {
					p.oracle.hosts[mac(2)] = Reservation{Addr: ip("10.0.0.104")}
				}
			case 0, 1, 2, 3:
				if offer := p.discover(s.mac, mods...); offer != nil && rnd.IntN(3) > 0 {
					if r := p.send(p.request(s.mac, offer, mods...)); r != nil && r.MessageType() == ackT {
						acked(s, r)
					}
				}
			case 4, 5: // renew, even an ended lease
				if h.addr != "" {
					if r := p.send(p.packet(s.mac, requestT, append(mods, withCiaddr(h.addr))...)); r != nil && r.MessageType() == ackT {
						acked(s, r)
					}
				}
			case 6, 7: // reboot, with its own or a guessed address
				addr := h.addr
				if addr == "" || rnd.IntN(3) == 0 {
					addr = netip.AddrFrom4([4]byte{10, byte(rnd.IntN(2)), 0, byte(8 + rnd.IntN(110))}).String()
				}
				if r := p.send(p.packet(s.mac, requestT, append(mods, withRequested(addr))...)); r != nil && r.MessageType() == ackT {
					acked(s, r)
				}
			case 8:
				if h.addr != "" {
					p.send(p.packet(s.mac, dhcpv4.MessageTypeRelease, append(mods, withServer("10.0.0.1"), withCiaddr(h.addr))...))
					delete(has, s)
				}
			case 9:
				if h.addr != "" && rnd.IntN(3) == 0 {
					p.send(p.packet(s.mac, dhcpv4.MessageTypeDecline, append(mods, withServer("10.0.0.1"), withRequested(h.addr))...))
					delete(has, s)
				}
			case 10:
				p.now = p.now.Add(time.Duration(rnd.IntN(4*3600)) * time.Second)
			case 11:
				if rnd.IntN(5) == 0 {
					before := leased(p.e.table, seconds(p.now))
					p.restart()
					if d := cmp.Diff(before, leased(p.e.table, seconds(p.now))); d != "" {
						t.Fatalf("seed %d: a restart changes who has what (-before +after):\n%s", seed, d)
					}
					for s, h := range has {
						i := p.e.table.at(subnetAt(h.addr), u32Of(ip(h.addr)))
						if h.expiry.After(p.now) && (i == none || p.e.table.entries[i].client.mac() != s.mac && p.e.table.free(i, ^client(0), seconds(p.now))) {
							t.Fatalf("seed %d: after a restart %v's lease of %s is not known", seed, s.mac, h.addr)
						}
					}
				}
			}
			checkTable(t, p.e.table)
		}
	}
}

// leased returns the addresses on lease, each with its client: nobody for one that
// was left.
func leased(t *table, now uint32) map[string]string {
	all := map[string]string{}
	for i := range t.entries {
		if t.leases(uint32(i), now) {
			all[addrOf(t.entries[i].addr).String()] = t.entries[i].client.mac().String()
		}
	}
	return all
}

func subnetAt(addr string) uint16 { return uint16(net.ParseIP(addr).To4()[1]) }

// checkTable holds the table's own invariants: the lists are whole and in the
// order of expiry, the index agrees with the entries, the counts are right.
func checkTable(t *testing.T, table *table) {
	t.Helper()
	on, leased, offered := map[uint32]bool{}, 0, 0
	for id := range table.spaces {
		for list := uint8(1); list < lists; list++ {
			prev, before := uint32(none), uint32(0)
			for i := table.spaces[id].head[list]; i != none; i = table.entries[i].next {
				e := table.entries[i]
				if e.list != list || int(e.subnet) != id || e.prev != prev || on[i] {
					t.Fatalf("list %d of subnet %d: entry %d is %+v after %d", list, id, i, e, prev)
				}
				if list != listFree && list != listParked && e.expiry < before {
					t.Fatalf("list %d is not in the order of expiry", list)
				}
				on[i], prev, before = true, i, e.expiry
				switch list {
				case listBoot, listLease, listLoaded:
					leased++
				case listOffer:
					offered++
				}
			}
			if table.spaces[id].tail[list] != prev {
				t.Fatalf("list %d ends at %d, tail says %d", list, prev, table.spaces[id].tail[list])
			}
		}
	}
	if leased != table.leased || offered != table.offered {
		t.Fatalf("%d leased and %d offered, counts say %d and %d", leased, offered, table.leased, table.offered)
	}
	for c, i := range table.byMAC {
		if table.entries[i].client != c {
			t.Fatalf("index says that %v has entry %d, which is %v's", c.mac(), i, table.entries[i].client.mac())
		}
	}
	for i := 1; i < len(table.entries); i++ {
		if e := table.entries[i]; e.client != 0 && table.byMAC[e.client] != uint32(i) {
			t.Fatalf("entry %d of %v is not in the index", i, e.client.mac())
		}
		if e := table.entries[i]; e.list != listNone && !on[uint32(i)] {
			t.Fatalf("entry %d is on no list, but says %d", i, e.list)
		}
	}
}

// TestNoGarbage holds that an exchange of the hot path allocates nothing.
func TestNoGarbage(t *testing.T) {
	cfg := testConfig().withDefaults()
	e := newEngine(cfg, &known{}, &Stats{}, false)
	p := &pod{t: t}
	discover := p.packet(mac(1), dhcpv4.MessageTypeDiscover).ToBytes()
	request := p.packet(mac(1), requestT, withServer("10.0.0.1"), withRequested("10.0.0.100")).ToBytes()
	out := make([]byte, maxReply)
	var d decision
	now := epoch
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		e.handle(discover, netip.AddrPort{}, now, out, &d)
		if d.n == 0 {
			t.Fatal("no offer")
		}
		e.handle(request, netip.AddrPort{}, now, out, &d)
		if d.n == 0 || d.nrecords != 1 {
			t.Fatal("no lease")
		}
	}); n != 0 {
		t.Errorf("%v allocations in an exchange", n)
	}
}

// TestManyClients fills a large pool and holds that each gets an address of its
// own, and that the next allocation is as quick as the first.
func TestManyClients(t *testing.T) {
	cfg := testConfig()
	cfg.Subnets = []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/12"), Pools: []Range{{ip("10.1.0.0"), ip("10.4.255.255")}}}}
	p := newPod(t, cfg)
	table, free := p.e.table, func(uint32) bool { return false }
	const n = 4 << 16
	for i := range uint32(n) {
		j := table.allocate(0, 1, 0, free)
		if j == none {
			t.Fatalf("no address for client %d", i)
		}
		table.assign(j, clientOf(MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, 0), listLease, 1000)
	}
	if len(table.byMAC) != n || table.leased != n {
		t.Fatalf("%d clients and %d leases, want %d", len(table.byMAC), table.leased, n)
	}
	if table.allocate(0, 999, 0, free) != none {
		t.Error("an address of a full pool")
	}
	if table.allocate(0, 1000, 0, free) == none {
		t.Error("no address of a pool whose leases have ended")
	}
}

func BenchmarkExchange(b *testing.B) {
	cfg := testConfig()
	cfg.Subnets = []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Pools: []Range{{ip("10.65.0.0"), ip("10.79.255.254")}}}}
	e := newEngine(cfg.withDefaults(), &known{}, &Stats{}, false)
	p := &pod{t: &testing.T{}}
	discover := p.packet(mac(1), dhcpv4.MessageTypeDiscover).ToBytes()
	request := p.packet(mac(1), requestT, withServer("10.0.0.1"), withRequested("0.0.0.0")).ToBytes()
	at := offOpts
	for request[at] != optRequested {
		at += 2 + int(request[at+1])
	}
	out := make([]byte, maxReply)
	var d decision
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for _, packet := range [][]byte{discover, request} {
			packet[offChaddr+2], packet[offChaddr+3], packet[offChaddr+4] = byte(i>>16), byte(i>>8), byte(i)
		}
		e.handle(discover, netip.AddrPort{}, epoch, out, &d)
		copy(request[at+2:], out[offYiaddr:offYiaddr+4])
		e.handle(request, netip.AddrPort{}, epoch, out, &d)
		if d.nrecords == 0 {
			b.Fatal("no lease")
		}
	}
}
