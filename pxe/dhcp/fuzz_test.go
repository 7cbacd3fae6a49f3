package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gantry-pod/gantry/pxe/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// seeds are packets of all kinds, as clients send them and bent.
func seeds() [][]byte {
	p := &pod{t: &testing.T{}}
	var all [][]byte
	for _, m := range []*dhcpv4.DHCPv4{
		p.packet(mac(1), dhcpv4.MessageTypeDiscover),
		p.packet(mac(1), dhcpv4.MessageTypeDiscover, withClass("PXEClient:Arch:00007:UNDI:003000", iana.EFI_X86_64), withIPXE,
			dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, make([]byte, 17))),
		p.packet(mac(1), dhcpv4.MessageTypeDiscover, withRelay("10.1.0.1"), dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 2, 'a', 'b', 5, 4, 10, 1, 0, 0})),
		p.packet(mac(1), requestT, withServer("10.0.0.1"), withRequested("10.0.0.100")),
		p.packet(mac(1), requestT, withCiaddr("10.0.0.100")),
		p.packet(mac(1), dhcpv4.MessageTypeDecline, withServer("10.0.0.1"), withRequested("10.0.0.100")),
		p.packet(mac(1), dhcpv4.MessageTypeRelease, withServer("10.0.0.1"), withCiaddr("10.0.0.100")),
		p.packet(mac(1), dhcpv4.MessageTypeInform, withCiaddr("10.0.0.50")),
	} {
		all = append(all, m.ToBytes())
	}
	head := all[0][:offOpts]
	with := func(options ...byte) []byte { return append(bytes.Clone(head), options...) }
	return append(all, nil, head, with(53, 1), with(53, 1, 1, 55, 200, 1), with(53, 1, 1), with(0, 0, 53, 1, 1, 255, 53, 1, 3),
		with(53, 1, 1, 61, 2, 1, 2, 61, 2, 3, 4, 255), with(53, 1, 1, 52, 1, 3, 255), with(53, 2, 1, 1, 50, 3, 1, 2, 3, 255))
}

// FuzzParse compares our parser with the library's, which is the judge of
// packets that both can read.
func FuzzParse(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var m message
		err := m.parse(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the packet was changed")
		}
		if err != nil {
			return
		}
		lib, err := dhcpv4.FromBytes(b)
		if err != nil {
			// The library wants an end option; we take what clients send.
			lib, err = dhcpv4.FromBytes(append(bytes.Clone(b), optEnd))
		}
		if err != nil {
			t.Fatalf("we read what the library refuses: %v", err)
		}
		if m.over != 0 {
			return // the library does not read options in the header's fields
		}
		if !bytes.Equal(m.mac[:], lib.ClientHWAddr) || m.broadcast != lib.IsBroadcast() ||
			!addrOf(m.ciaddr).IsValid() || net.IP(be32(m.ciaddr)).String() != lib.ClientIPAddr.String() || net.IP(be32(m.giaddr)).String() != lib.GatewayIPAddr.String() {
			t.Errorf("header: %+v, the library says\n%s", m, lib.Summary())
		}
		for code, ours := range map[uint8][]byte{optPRL: m.prl, optClientID: m.clientID, optClass: m.class, optUserClass: m.userClass,
			optArch: m.arch, optMachineID: m.machineID, optHostname: m.hostname, optRelay: m.relay} {
			if theirs := lib.Options.Get(dhcpv4.GenericOptionCode(code)); !bytes.Equal(ours, theirs) {
				t.Errorf("option %d: %x, the library says %x", code, ours, theirs)
			}
		}
		for code, ours := range map[uint8]uint32{optRequested: m.requested, optServerID: m.serverID, optSubnet: m.subnet} {
			if theirs := lib.Options.Get(dhcpv4.GenericOptionCode(code)); addr4(theirs) != ours {
				t.Errorf("option %d: %v, the library says %x", code, addrOf(ours), theirs)
			}
		}
		if theirs := lib.Options.Get(dhcpv4.OptionDHCPMessageType); len(theirs) == 1 && theirs[0] != m.typ {
			t.Errorf("type %d, the library says %d", m.typ, theirs[0])
		}
	})
}

// FuzzHandle feeds anything to an engine with leases: it must not panic, each
// reply must be readable, answer its packet and fit, and the table stay whole.
func FuzzHandle(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, proxy bool) {
		cfg := testConfig()
		cfg.Proxy = proxy
		p := newPod(t, cfg)
		p.oracle.want[mac(1)] = boot.WantScript
		p.e.cfg.Proxy = false
		p.acquire(mac(1))
		p.acquire(mac(2))
		p.e.cfg.Proxy = proxy
		for range 2 {
			var d decision
			out := make([]byte, maxReply)
			p.e.handle(b, netip.AddrPortFrom(ip("10.0.0.100"), 68), p.now, out, &d)
			checkReply(t, b, out[:d.n])
			checkTable(t, p.e.table)
			for _, r := range d.records[:d.nrecords] {
				if !r.Addr.Is4() || r.State < Bound || r.State > Declined {
					t.Errorf("record %+v", r)
				}
			}
			p.e.handleBoot(b, netip.AddrPortFrom(ip("10.0.0.100"), 4011), p.now, out, &d)
			checkReply(t, b, out[:d.n])
		}
	})
}

func checkReply(t *testing.T, request, reply []byte) {
	t.Helper()
	if len(reply) == 0 {
		return
	}
	r, err := dhcpv4.FromBytes(reply)
	if err != nil {
		t.Fatalf("unreadable reply %x: %v", reply, err)
	}
	if !bytes.Equal(r.TransactionID[:], request[offXid:offSecs]) || r.OpCode != dhcpv4.OpcodeBootReply || len(r.ServerIdentifier()) != 4 {
		t.Errorf("reply:\n%s", r.Summary())
	}
}

// FuzzRecord reads back what was stored, and refuses the rest without a panic.
func FuzzRecord(f *testing.F) {
	b := make([]byte, keySize+valueSize)
	encodeRecord(b, Record{Addr: ip("10.0.0.1"), MAC: mac(1), State: Bound, Expiry: epoch})
	f.Add(b[:keySize], b[keySize:])
	f.Add([]byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		r, err := decodeRecord(k, v)
		if err != nil {
			return
		}
		again := make([]byte, keySize+valueSize)
		encodeRecord(again, r)
		if !bytes.Equal(again[:keySize], k) || !bytes.Equal(again[keySize:], v) {
			t.Errorf("%x %x became %x", k, v, again)
		}
	})
}
