package dhcp

import "time"

// request answers a DHCPREQUEST, whose four kinds are told apart as in RFC
// 2131, section 4.3.2.
func (x *exchange) request() {
	m := x.m
	switch {
	case m.hasServerID && m.serverID != x.id && (m.serverOverride == 0 || m.serverID != m.serverOverride):
		x.notChosen()
	case m.hasServerID: // SELECTING
		x.grant(m.requested, "that is not the address offered to you")
	case m.requested != 0: // INIT-REBOOT
		if x.fixed != 0 && x.fixed != m.requested && x.available(x.fixed) {
			x.nak("another address is reserved for you")
			return
		}
		x.grant(m.requested, "that address is not yours here")
	case m.ciaddr != 0: // RENEWING, REBINDING
		x.renew()
	default:
		x.stats.Malformed.Add(1)
	}
}

// notChosen frees what was offered to a client that took another server's.
func (x *exchange) notChosen() {
	x.stats.NotOurs.Add(1)
	if i := x.table.of(x.client); i != none && x.table.entries[i].list == listOffer {
		x.table.release(i, x.now)
	}
}

// grant gives the client the address that it asks for, or says why not. An
// address that nobody holds is granted even if this server does not remember
// offering it: after a restart between offer and request, or a lost journal,
// clients then keep what they have.
func (x *exchange) grant(addr uint32, why string) {
	if !x.mayHave(addr) || x.sn.net != addr&x.sn.mask {
		x.nak(why)
		return
	}
	// A client that we offered one address may not take another beside it.
	if own := x.table.of(x.client); own != none && x.m.hasServerID {
		e := &x.table.entries[own]
		if e.addr != addr && addr != x.fixed && e.list == listOffer && e.expiry > x.now {
			x.nak(why)
			return
		}
	}
	x.bind(addr)
}

// renew extends a lease. A machine that was given a reservation while it holds
// another address keeps that until it boots again: renewing must not cut a
// running system's connections.
func (x *exchange) renew() {
	addr := x.m.ciaddr
	own := x.table.of(x.client)
	mine := own != none && x.table.entries[own].addr == addr && x.table.free(own, x.client, x.now)
	if !mine && !x.mayHave(addr) || x.sn.net != addr&x.sn.mask {
		x.nak("that address is not yours here")
		return
	}
	x.bind(addr)
}

// bind leases addr to the client and acknowledges once that is durable.
func (x *exchange) bind(addr uint32) {
	t := x.table
	if old := t.of(x.client); old != none && t.entries[old].addr != addr && t.entries[old].list != listOffer {
		// The client has chosen: what it leaves is free, here and in the journal.
		t.release(old, x.now)
		x.d.record(Record{Addr: addrOf(t.entries[old].addr), MAC: x.m.mac, State: Released, Expiry: atSecond(x.now)})
	}
	d, list := x.duration(), uint8(listLease)
	if x.booting() {
		list = listBoot
	}
	i := t.reserve(x.snid, addr)
	t.assign(i, x.client, list, x.now+d)
	x.d.record(Record{Addr: addrOf(addr), MAC: x.m.mac, State: Bound, Expiry: atSecond(x.now + d)})
	x.stats.Acks.Add(1)
	x.reply(typeAck, addr, d)
	x.tell(Acknowledged, addr)
}

// decline takes a DHCPDECLINE: the client found its address in use. Anyone can
// write one, so it does not take a machine's own reservation from it: the event
// has a person look for whoever uses that.
func (x *exchange) decline() {
	i := x.table.of(x.client)
	if x.m.serverID != x.id && (x.m.serverOverride == 0 || x.m.serverID != x.m.serverOverride) || i == none || x.table.entries[i].addr != x.m.requested ||
		x.table.entries[i].expiry <= x.now {
		x.stats.NotOurs.Add(1)
		return
	}
	x.stats.Declines.Add(1)
	x.tell(InUse, x.m.requested)
	if x.m.requested == x.fixed {
		return
	}
	until := x.now + uint32(x.cfg.DeclineTime/time.Second)
	x.table.quarantine(i, until)
	x.d.record(Record{Addr: addrOf(x.m.requested), MAC: x.m.mac, State: Declined, Expiry: atSecond(until)})
}

// release takes a DHCPRELEASE. It is believed only from the leased address
// itself or through that network's relay, as anyone can write a MAC.
func (x *exchange) release() {
	m := x.m
	i := x.table.of(x.client)
	if m.hasServerID && m.serverID != x.id && m.serverID != m.serverOverride || m.ciaddr == 0 ||
		i == none || x.table.entries[i].addr != m.ciaddr ||
		u32Of(x.src.Addr()) != m.ciaddr && !x.fromRelay() {
		x.stats.NotOurs.Add(1)
		return
	}
	x.table.release(i, x.now)
	x.d.record(Record{Addr: addrOf(m.ciaddr), MAC: m.mac, State: Released, Expiry: atSecond(x.now)})
	x.stats.Releases.Add(1)
	x.tell(GivenBack, m.ciaddr)
}

// fromRelay reports whether a packet was sent by the relay that it names, on a
// network other than our own: there any host could name itself one.
func (x *exchange) fromRelay() bool {
	id, ok := x.table.subnetOf(x.m.giaddr)
	return ok && int(id) != x.local && u32Of(x.src.Addr()) == x.m.giaddr
}

// inform answers a DHCPINFORM: options, without a lease (RFC 2131, section 4.3.5).
func (x *exchange) inform() {
	if x.m.ciaddr == 0 || x.m.ciaddr&x.sn.mask != x.sn.net {
		x.stats.NoSubnet.Add(1)
		return
	}
	x.stats.Acks.Add(1)
	x.reply(typeAck, 0, 0)
}

func atSecond(s uint32) time.Time { return time.Unix(int64(s), 0) }
