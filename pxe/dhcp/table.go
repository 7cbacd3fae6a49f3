package dhcp

import (
	"net/netip"
	"slices"
)

// none is the index of no entry; entry 0 of a table is never used.
const none = 0

// The lists of a subnet. Each is in the order of expiry, since all that enters
// one list lasts equally long; an address that was never touched is in none.
const (
	listNone   = iota
	listFree   // given back, oldest first
	listOffer  // offered
	listBoot   // leased for the boot lease time
	listLease  // leased for the lease time
	listLoaded // leased before this start of the server, maybe for other times
	listQuarantine
	listParked // not for the pools: reserved, or outside them
	lists
)

// entry is what the table knows of one address: 32 bytes without a pointer, so
// that a million of them are nothing to the garbage collector.
type entry struct {
	client     client
	addr       uint32
	expiry     uint32 // Unix seconds; when it has come, the address may be given out
	prev, next uint32 // in its list
	list       uint8
	subnet     uint16
}

// client identifies who holds an address: a MAC on a subnet. Zero is nobody.
type client uint64

func clientOf(mac MAC, subnet uint16) client {
	return client(mac[0])<<56 | client(mac[1])<<48 | client(mac[2])<<40 | client(mac[3])<<32 |
		client(mac[4])<<24 | client(mac[5])<<16 | client(subnet)
}

func (c client) mac() MAC {
	return MAC{byte(c >> 56), byte(c >> 48), byte(c >> 40), byte(c >> 32), byte(c >> 24), byte(c >> 16)}
}

// pool is one range of a subnet: entries base … base+last-first.
type pool struct {
	first, last uint32
	base        uint32
	fresh       uint32 // next offset that may never have been touched
}

// space is one subnet's part of the table.
type space struct {
	prefix     netip.Prefix
	pools      []pool
	head, tail [lists]uint32
}

// table holds who has which address. Every operation takes constant time and
// memory is fixed by the pools and the reservations. It has one writer and no
// lock: the engine's caller has that.
type table struct {
	entries []entry
	byMAC   map[client]uint32
	outside map[uint32]uint32 // entries of addresses outside the pools
	spaces  []space
	leased  int // entries on the lists of leases
	offered int
}

func newTable(subnets []Subnet) *table {
	t := &table{byMAC: map[client]uint32{}, outside: map[uint32]uint32{}}
	n := uint32(1)
	for _, s := range subnets {
		sp := space{prefix: s.Prefix}
		for _, r := range s.Pools {
			sp.pools = append(sp.pools, pool{first: u32Of(r.First), last: u32Of(r.Last), base: n})
			n += r.size()
		}
		t.spaces = append(t.spaces, sp)
	}
	t.entries = make([]entry, n)
	return t
}

// subnetOf returns the subnet that contains an address.
func (t *table) subnetOf(addr uint32) (uint16, bool) {
	for i := range t.spaces {
		if p := t.spaces[i].prefix; addr&mask(p.Bits()) == u32Of(p.Addr()) {
			return uint16(i), true
		}
	}
	return 0, false
}

// of returns the entry that a client has on a subnet, whatever its state, or none.
func (t *table) of(c client) uint32 { return t.byMAC[c] }

// at returns the entry of an address of a subnet; none where the address is
// outside the pools and was never reserved.
func (t *table) at(subnet uint16, addr uint32) uint32 {
	for _, p := range t.spaces[subnet].pools {
		if p.first <= addr && addr <= p.last {
			i := p.base + addr - p.first
			t.entries[i].addr, t.entries[i].subnet = addr, subnet
			return i
		}
	}
	return t.outside[addr]
}

// dynamic reports whether an address is in a pool of its subnet.
func (t *table) dynamic(subnet uint16, addr uint32) bool {
	for _, p := range t.spaces[subnet].pools {
		if p.first <= addr && addr <= p.last {
			return true
		}
	}
	return false
}

// reserve returns the entry of an address, made if it lies outside the pools.
func (t *table) reserve(subnet uint16, addr uint32) uint32 {
	if i := t.at(subnet, addr); i != none {
		return i
	}
	i := uint32(len(t.entries))
	t.entries = append(t.entries, entry{addr: addr, subnet: subnet})
	t.outside[addr] = i
	return i
}

// free reports whether an entry may be given to a client: it is its own, or
// nobody's any more.
func (t *table) free(i uint32, c client, now uint32) bool {
	e := &t.entries[i]
	if e.list == listQuarantine {
		return e.expiry <= now
	}
	return e.client == c || e.list == listNone || e.list == listFree || e.expiry <= now
}

// leases reports whether an entry is a lease that lasts.
func (t *table) leases(i, now uint32) bool {
	e := &t.entries[i]
	return (e.list == listBoot || e.list == listLease || e.list == listLoaded) && e.expiry > now
}

// assign gives an entry to a client until expiry, on one of the lists; whoever
// had the entry loses it. An address that the client leased before is no longer
// tied to it, but stays out of use until that lease ends.
func (t *table) assign(i uint32, c client, list uint8, expiry uint32) {
	e := &t.entries[i]
	if e.client != c {
		if e.client != 0 {
			delete(t.byMAC, e.client)
		}
		if old := t.byMAC[c]; old != none {
			t.entries[old].client = 0
			if t.entries[old].list == listOffer {
				t.move(old, listFree)
			}
		}
		t.byMAC[c] = i
		e.client = c
	}
	e.expiry = expiry
	t.move(i, list)
}

// release gives an entry back; it stays known as its client's until another
// needs it, so that the client finds its address again.
func (t *table) release(i uint32, now uint32) {
	t.entries[i].expiry = now
	t.move(i, listFree)
}

// quarantine keeps an entry from everybody until expiry.
func (t *table) quarantine(i uint32, expiry uint32) {
	e := &t.entries[i]
	if e.client != 0 {
		delete(t.byMAC, e.client)
		e.client = 0
	}
	e.expiry = expiry
	t.move(i, listQuarantine)
}

// move puts an entry at a list's end.
func (t *table) move(i uint32, list uint8) {
	e := &t.entries[i]
	s := &t.spaces[e.subnet]
	t.unlink(i)
	t.count(list, 1)
	e.list, e.prev, e.next = list, s.tail[list], none
	if e.prev != none {
		t.entries[e.prev].next = i
	} else {
		s.head[list] = i
	}
	s.tail[list] = i
}

// unlink takes an entry out of its list.
func (t *table) unlink(i uint32) {
	e := &t.entries[i]
	s := &t.spaces[e.subnet]
	if e.list == listNone {
		return
	}
	t.count(e.list, -1)
	if e.prev != none {
		t.entries[e.prev].next = e.next
	} else {
		s.head[e.list] = e.next
	}
	if e.next != none {
		t.entries[e.next].prev = e.prev
	} else {
		s.tail[e.list] = e.prev
	}
}

func (t *table) count(list uint8, d int) {
	switch list {
	case listBoot, listLease, listLoaded:
		t.leased += d
	case listOffer:
		t.offered += d
	}
}

// restore puts loaded records back, those of one subnet in order of expiry.
func (t *table) restore(records []Record) {
	slices.SortFunc(records, func(a, b Record) int { return a.Expiry.Compare(b.Expiry) })
	for _, r := range records {
		addr := u32Of(r.Addr)
		subnet, ok := t.subnetOf(addr)
		if !ok {
			continue // no longer served; its record stays for when it is again
		}
		i := t.reserve(subnet, addr)
		c := clientOf(r.MAC, subnet)
		if r.MAC == (MAC{}) {
			c = 0
		}
		expiry := seconds(r.Expiry)
		switch r.State {
		case Bound:
			t.assign(i, c, listLoaded, expiry)
		case Released:
			if t.of(c) == none {
				t.assign(i, c, listFree, expiry)
			} else {
				t.release(i, expiry)
			}
		case Declined:
			t.quarantine(i, expiry)
		}
	}
}
