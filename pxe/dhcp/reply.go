package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// newSubnet prepares a subnet's options.
func newSubnet(s Subnet) subnet {
	n := subnet{Subnet: s, net: u32Of(s.Prefix.Addr()), mask: mask(s.Prefix.Bits()),
		lease: uint32(s.LeaseTime.Seconds()), boot: uint32(s.BootLeaseTime.Seconds())}
	add := func(code byte, always bool, v []byte) {
		if len(v) > 0 {
			n.options = append(n.options, option{code, always, v})
		}
	}
	// The mask comes before the routers (RFC 2132, section 3.3).
	add(optMask, true, be32(n.mask))
	add(optRouter, true, addrs(s.Routers))
	add(optDNS, false, addrs(s.DNS))
	add(optDomain, false, []byte(s.Domain))
	add(optNTP, false, addrs(s.NTP))
	if s.MTU != 0 {
		add(optMTU, false, binary.BigEndian.AppendUint16(nil, s.MTU))
	}
	add(optBroadcast, false, be32(n.net|^n.mask))
	return n
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func addrs(list []netip.Addr) []byte {
	var b []byte
	for _, a := range list {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// reply writes an offer or an acknowledgement of addr for secs seconds; 0 and 0
// for an inform's.
func (x *exchange) reply(typ byte, addr, secs uint32) {
	var w writer
	w.reply(x.out, x.m, typ)
	w.put32(offYiaddr, addr)
	if typ == typeAck {
		w.put32(offCiaddr, x.m.ciaddr)
	}
	w.u32(optServerID, x.serverID())
	if secs != 0 {
		w.u32(optLeaseTime, secs)
		w.u32(optT1, secs/2)
		w.u32(optT2, secs-secs/8)
	}
	for i := range x.sn.options {
		if o := &x.sn.options[i]; o.always || x.m.wants(o.code) {
			w.bytes(o.code, o.value)
		}
	}
	if x.host.Hostname != "" && x.m.wants(optHostname) {
		w.text(optHostname, x.host.Hostname)
	}
	x.bootOptions(&w)
	x.echo(&w)
	x.d.n = w.finish()
	x.d.dest = x.route(addr)
}

// serverID is our address, or the relay's where it stands between the client
// and us in renewals as well (RFC 5107).
func (x *exchange) serverID() uint32 {
	if x.m.serverOverride != 0 {
		return x.m.serverOverride
	}
	return x.id
}

// bootOptions writes the boot answer.
func (x *exchange) bootOptions(w *writer) {
	a := &x.answer
	if !a.Boots() {
		return
	}
	next := u32Of(a.NextServer)
	w.put32(offSiaddr, next)
	w.bootFile(a.File)
	if x.m.prl != nil && x.m.wants(optTFTPName) && !strings.HasPrefix(a.File, "http") {
		w.text(optTFTPName, a.NextServer.String())
	}
	if a.Class != "" {
		w.text(optClass, a.Class)
	}
	if a.Class == boot.ClassPXE {
		// PXE_DISCOVERY_CONTROL = 8: use the file named here (PXE 2.1, table 2-1).
		if v := w.space(optVendor, 4); v != nil {
			v[0], v[1], v[2], v[3] = 6, 1, 8, optEnd
		}
	}
	if a.NoProxyDHCP {
		// iPXE's encapsulated options: no-pxedhcp = 1.
		if v := w.space(optIPXE, 3); v != nil {
			v[0], v[1], v[2] = 176, 1, 1
		}
	}
}

// echo writes what a server has to send back: the client identifier (RFC
// 6842), the machine identifier (RFC 4578, section 2.4), and the subnet option
// (RFC 3011).
func (x *exchange) echo(w *writer) {
	if x.m.clientID != nil {
		w.bytes(optClientID, x.m.clientID)
	}
	if x.m.machineID != nil && x.answer.Boots() {
		w.bytes(optMachineID, x.m.machineID)
	}
	if x.m.hasSubnet {
		w.u32(optSubnet, x.m.subnet)
	}
}

// nak refuses a request, so that the client starts anew at once.
func (x *exchange) nak(why string) {
	var w writer
	w.reply(x.out, x.m, typeNak)
	w.u32(optServerID, x.serverID())
	w.text(optText, why)
	if x.m.clientID != nil {
		w.bytes(optClientID, x.m.clientID)
	}
	if x.m.giaddr != 0 {
		// The relay has to broadcast it: the client's address is wrong.
		x.out[offFlags] |= flagBcast >> 8
	}
	x.d.n = w.finish()
	x.d.dest = x.route(0)
	if x.m.giaddr == 0 && x.m.ciaddr != 0 && x.local != int(x.snid) {
		// A client behind a router, renewing: a broadcast would not reach it.
		x.d.dest = dest{addr: x.m.ciaddr, port: x.cfg.Port + 1}
	}
	x.stats.Naks.Add(1)
	x.tell(Refused, x.m.requested|x.m.ciaddr)
}

// route returns where an answer goes (RFC 2131, section 4.1); addr 0 is a
// DHCPNAK's, or an inform's answer.
func (x *exchange) route(addr uint32) dest {
	m := x.m
	switch {
	case m.giaddr != 0 && m.sourcePort:
		return dest{addr: m.giaddr, port: x.src.Port()} // RFC 8357
	case m.giaddr != 0:
		return dest{addr: m.giaddr, port: x.cfg.Port}
	case m.ciaddr != 0 && (addr != 0 || m.typ == typeInform):
		return dest{addr: m.ciaddr, port: x.cfg.Port + 1}
	case m.broadcast || addr == 0:
		return dest{addr: 0xffffffff, port: x.cfg.Port + 1}
	}
	return dest{addr: addr, port: x.cfg.Port + 1, link: true, mac: m.mac}
}

// tell sets the decision's event, if anyone wants it.
func (x *exchange) tell(kind EventKind, addr uint32) {
	if !x.watch {
		return
	}
	ev := Event{Kind: kind, Time: x.time, MAC: x.m.mac, Client: x.boot, Boot: x.answer, Hostname: string(x.m.hostname)}
	ev.Client.UUID = uuidText(x.m.machineID)
	if x.sn != nil {
		ev.Subnet = x.sn.Prefix
	}
	if addr != 0 {
		ev.Addr = addrOf(addr)
	}
	if x.m.giaddr != 0 {
		ev.Relay = addrOf(x.m.giaddr)
	}
	x.d.event = ev
}
