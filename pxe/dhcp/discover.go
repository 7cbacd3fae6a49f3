package dhcp

import "time"

// minOffer is how long an offer is safe from being taken back for another
// client, in seconds: clients answer the offer that they choose at once.
const minOffer = 2

// discover answers a DHCPDISCOVER (RFC 2131, section 4.3.1). No offer is
// durable: a flood of forged clients holds addresses for seconds.
func (x *exchange) discover() {
	addr, fresh := x.choose()
	if addr == 0 {
		x.stats.Exhausted.Add(1)
		x.tell(Exhausted, 0)
		return
	}
	x.stats.Offers.Add(1)
	x.reply(typeOffer, addr, x.duration())
	if fresh {
		x.tell(Offered, addr)
	}
}

// choose returns the address to offer, and whether that is a new choice: the
// reservation; the client's own from before; the one it asks for, if free; any.
func (x *exchange) choose() (addr uint32, fresh bool) {
	t := x.table
	own := t.of(x.client)
	if x.fixed != 0 && x.available(x.fixed) {
		// Nobody else is given it, so there is nothing to hold.
		return x.fixed, own == none || t.entries[own].addr != x.fixed || t.entries[own].expiry <= x.now
	}
	if own != none && x.mayHave(t.entries[own].addr) {
		if t.entries[own].list != listFree && t.entries[own].expiry > x.now {
			return t.entries[own].addr, false
		}
		return x.offer(own), true
	}
	if own := x.m.requested; own != 0 && t.dynamic(x.snid, own) {
		if i := t.at(x.snid, own); t.free(i, x.client, x.now) && !x.reserved(own) {
			return x.offer(i), true
		}
	}
	before := x.now + uint32(x.cfg.OfferTime/time.Second) - minOffer
	if i := t.allocate(x.snid, x.now, before, x.reserved); i != none {
		return x.offer(i), true
	}
	return 0, false
}

// offer keeps an entry for the client for a few seconds. A lease that the client
// has but may not keep becomes nobody's; were that not durable, it would be the
// client's again after a restart, and what it is about to lease nobody's.
func (x *exchange) offer(i uint32) uint32 {
	if old := x.table.of(x.client); old != none && old != i && x.table.leases(old, x.now) {
		e := &x.table.entries[old]
		x.d.record(Record{Addr: addrOf(e.addr), State: Bound, Expiry: atSecond(e.expiry)})
	}
	x.table.assign(i, x.client, listOffer, x.now+uint32(x.cfg.OfferTime/time.Second))
	return x.table.entries[i].addr
}

// available reports whether nobody else holds an address of the subnet.
func (x *exchange) available(addr uint32) bool {
	i := x.table.at(x.snid, addr)
	return i == none || x.table.free(i, x.client, x.now)
}

// mayHave reports whether the client may be given an address: its reservation,
// or one of the pools that is nobody's reservation and that nobody holds.
func (x *exchange) mayHave(addr uint32) bool {
	if addr == 0 || !x.available(addr) {
		return false
	}
	return addr == x.fixed || x.table.dynamic(x.snid, addr) && !x.reserved(addr)
}

// duration returns the lease time for this client, in seconds.
func (x *exchange) duration() uint32 {
	if x.booting() {
		return x.sn.boot
	}
	return x.sn.lease
}
