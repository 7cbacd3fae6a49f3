package dhcp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// engine decides: a packet and the time go in, a decision comes out, and the
// lease table has changed. It has no socket, no clock and no lock.
type engine struct {
	cfg     Config
	id      uint32 // server identifier
	subnets []subnet
	local   int // the subnet of the server's own interface, or -1
	oracle  Oracle
	table   *table
	limiter *limiter
	stats   *Stats
	watch   bool // someone wants events
	// reserved asks the oracle; a field, as a method value made for each
	// packet would be garbage.
	reserved func(addr uint32) bool
	// The packet under way, kept here for the same reason.
	message  message
	exchange exchange
}

// subnet is a Subnet with its options ready to be copied.
type subnet struct {
	Subnet
	net, mask   uint32
	options     []option // what a client may ask for
	lease, boot uint32   // seconds
}

// option is a configured option; always says that it is sent unasked.
type option struct {
	code   byte
	always bool
	value  []byte
}

// decision is what becomes of one packet.
type decision struct {
	// n is the reply's length in the buffer; 0 is no reply.
	n    int
	dest dest
	// records are to be durable before the reply is sent.
	records  [2]Record
	nrecords int
	event    Event // Kind 0 is none
}

// dest is where a reply goes (RFC 2131, section 4.1).
type dest struct {
	addr uint32 // IPv4 destination
	port uint16
	// link says to send to mac at link level: addr is the client's from now
	// on, and it cannot answer ARP for it yet.
	link bool
	mac  MAC
}

func (d *decision) record(r Record) {
	d.records[d.nrecords] = r
	d.nrecords++
}

func newEngine(cfg Config, oracle Oracle, stats *Stats, watch bool) *engine {
	e := &engine{cfg: cfg, id: u32Of(cfg.Addr), local: -1, oracle: oracle, stats: stats, watch: watch,
		table: newTable(cfg.Subnets), limiter: newLimiter(cfg.ClientRate, cfg.ClientBurst)}
	for i, s := range cfg.Subnets {
		e.subnets = append(e.subnets, newSubnet(s))
		if s.Prefix.Contains(cfg.Addr) {
			e.local = i
		}
	}
	e.reserved = func(addr uint32) bool { return oracle.Reserved(addrOf(addr)) }
	return e
}

// oldLease is how long a lease of before lasts at most where those made now are
// shorter: they may have been longer.
const oldLease = 7 * 24 * time.Hour

// restore takes the leases of before. None lasts much longer than one made now
// would: the clock may have been wrong then, or may be now.
func (e *engine) restore(records []Record, now time.Time) {
	for i := range records {
		r := &records[i]
		longest := oldLease
		if id, ok := e.table.subnetOf(u32Of(r.Addr)); ok {
			longest = max(longest, e.subnets[id].LeaseTime, e.subnets[id].BootLeaseTime)
		}
		if last := now.Add(longest); r.Expiry.After(last) {
			r.Expiry = last
		}
	}
	e.table.restore(records)
}

// handle decides on one packet of the main port that came from src (address
// and port). out has room for maxReply bytes, and d is overwritten. The
// packet's bytes are not kept.
func (e *engine) handle(packet []byte, src netip.AddrPort, now time.Time, out []byte, d *decision) {
	x := e.begin(packet, src, now, out, d)
	if x == nil {
		return
	}
	if e.cfg.Proxy {
		x.proxy()
		return
	}
	if !x.place() {
		e.stats.NoSubnet.Add(1)
		return
	}
	x.identify()
	switch x.m.typ {
	case typeDiscover:
		x.discover()
	case typeRequest:
		x.request()
	case typeDecline:
		x.decline()
	case typeRelease:
		x.release()
	case typeInform:
		x.inform()
	default:
		e.stats.Malformed.Add(1)
	}
}

// begin reads a packet and returns its exchange, or nil where it is not one
// that is to be answered.
func (e *engine) begin(packet []byte, src netip.AddrPort, now time.Time, out []byte, d *decision) *exchange {
	*d = decision{}
	e.stats.Received.Add(1)
	m := &e.message
	if err := m.parse(packet); err != nil {
		e.stats.drop(err)
		return nil
	}
	if !e.limiter.allow(m.mac, uint32(now.UnixMilli())) {
		e.stats.Limited.Add(1)
		return nil
	}
	e.exchange = exchange{engine: e, m: m, d: d, out: out, src: src, time: now, now: seconds(now)}
	return &e.exchange
}

// exchange is the handling of one packet.
type exchange struct {
	*engine
	m    *message
	d    *decision
	out  []byte
	src  netip.AddrPort
	time time.Time
	now  uint32 // time in Unix seconds

	sn     *subnet
	snid   uint16
	client client
	host   Reservation
	known  bool
	fixed  uint32 // the reservation's address on this subnet, or 0
	boot   boot.Client
	answer boot.Answer
}

// place finds the client's subnet: what the relay says (RFC 3527, then the
// client's RFC 3011 through a relay, then giaddr), a renewing client's own
// address, or the interface's.
func (x *exchange) place() bool {
	at := x.id
	switch m := x.m; {
	case m.giaddr != 0 && m.linkSel != 0:
		at = m.linkSel
	case m.giaddr != 0 && m.subnet != 0:
		at = m.subnet
	case m.giaddr != 0:
		at = m.giaddr
	case m.ciaddr != 0:
		at = m.ciaddr
	}
	id, ok := x.table.subnetOf(at)
	if !ok {
		// A client that carries an address of elsewhere into our own network
		// has to hear that it is wrong.
		if x.m.giaddr != 0 || x.local < 0 {
			return false
		}
		id = uint16(x.local)
	}
	x.snid, x.sn = id, &x.subnets[id]
	x.client = clientOf(x.m.mac, id)
	return true
}

// identify asks who the client is and decides what it is told about booting.
func (x *exchange) identify() {
	x.host, x.known = x.oracle.Host(x.m.mac)
	if a := x.host.Addr; x.known && a.Is4() && x.sn.Prefix.Contains(a) {
		x.fixed = u32Of(a)
	}
	x.decideBoot()
}

func (x *exchange) decideBoot() {
	x.boot = x.m.bootClient()
	if !x.boot.PXEClient && !x.boot.HTTPClient && !x.boot.IPXE {
		return
	}
	mac := x.m.mac
	c := x.boot
	c.MAC = net.HardwareAddr(mac[:])
	x.answer = boot.Decide(c, x.oracle.Want(mac), x.cfg.Boot)
}

// bootClient reads what firmware and iPXE say of themselves, without the MAC.
func (m *message) bootClient() boot.Client {
	c := boot.Client{
		PXEClient:  bytes.HasPrefix(m.class, []byte(boot.ClassPXE)),
		HTTPClient: bytes.HasPrefix(m.class, []byte(boot.ClassHTTP)),
		IPXE:       m.ipxe || isIPXE(m.userClass),
	}
	if len(m.arch) >= 2 {
		c.Arch, c.HasArch = boot.Arch(m.arch[0])<<8|boot.Arch(m.arch[1]), true
	}
	return c
}

// isIPXE reports whether a user class is iPXE's, which sends it plain and not
// in RFC 3004's counted form.
func isIPXE(v []byte) bool {
	return string(v) == "iPXE" || len(v) > 1 && int(v[0]) == len(v)-1 && string(v[1:]) == "iPXE"
}

// booting reports whether firmware or iPXE is asking: its lease is short.
func (x *exchange) booting() bool { return x.boot.PXEClient || x.boot.HTTPClient || x.boot.IPXE }

// seconds returns a time in Unix seconds, as the table counts; it does until 2106.
func seconds(t time.Time) uint32 { return uint32(max(0, min(t.Unix(), 1<<32-1))) }

func (s *Stats) drop(err error) {
	if errors.Is(err, errNotDHCP) || errors.Is(err, errHW) || errors.Is(err, errNoType) {
		s.Foreign.Add(1)
		return
	}
	s.Malformed.Add(1)
}
