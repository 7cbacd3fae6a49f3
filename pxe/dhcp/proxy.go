package dhcp

import (
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// proxyPort is the PXE boot server's (PXE 2.1, section 2.2.3).
const proxyPort = 4011

// proxy answers a DHCPDISCOVER on the main port as a ProxyDHCP server: the boot
// answer without an address. Requests there are for the other server.
func (x *exchange) proxy() {
	if x.m.typ != typeDiscover {
		return
	}
	x.decideBoot()
	x.bootReply(typeOffer, x.route(0), Offered)
}

// handleBoot answers a request to port 4011: a client that has its address and
// asks for the boot file (PXE 2.1, section 2.4.2).
func (e *engine) handleBoot(packet []byte, src netip.AddrPort, now time.Time, out []byte, d *decision) {
	x := e.begin(packet, src, now, out, d)
	if x == nil {
		return
	}
	if typ := x.m.typ; typ != typeRequest && typ != typeInform && typ != typeDiscover {
		return
	}
	x.decideBoot()
	x.bootReply(typeAck, dest{addr: u32Of(src.Addr()), port: src.Port()}, Acknowledged)
}

// bootReply writes a reply that is about booting only, and tells of it; or
// nothing, where there is nothing to boot.
func (x *exchange) bootReply(typ byte, to dest, kind EventKind) {
	if !x.answer.Boots() {
		return
	}
	if x.answer.Class == "" {
		x.answer.Class = boot.ClassPXE // iPXE too takes a proxy's offer by its class
	}
	var w writer
	w.reply(x.out, x.m, typ)
	w.u32(optServerID, x.serverID())
	x.bootOptions(&w)
	x.echo(&w)
	x.d.n = w.finish()
	x.d.dest = to
	if typ == typeOffer {
		x.stats.Offers.Add(1)
	} else {
		x.stats.Acks.Add(1)
	}
	x.tell(kind, 0)
}
