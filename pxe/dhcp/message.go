package dhcp

import (
	"encoding/binary"
	"errors"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Fixed offsets of a message (RFC 2131, section 2).
const (
	offOp     = 0
	offHtype  = 1
	offHlen   = 2
	offXid    = 4
	offSecs   = 8
	offFlags  = 10
	offCiaddr = 12
	offYiaddr = 16
	offSiaddr = 20
	offGiaddr = 24
	offChaddr = 28
	offSname  = 44
	offFile   = 108
	offCookie = 236
	offOpts   = 240

	magicCookie = 0x63825363
	flagBcast   = 0x8000

	opRequest = 1
	opReply   = 2
)

// Message types (RFC 2132, section 9.6).
const (
	typeDiscover = byte(dhcpv4.MessageTypeDiscover)
	typeOffer    = byte(dhcpv4.MessageTypeOffer)
	typeRequest  = byte(dhcpv4.MessageTypeRequest)
	typeDecline  = byte(dhcpv4.MessageTypeDecline)
	typeAck      = byte(dhcpv4.MessageTypeAck)
	typeNak      = byte(dhcpv4.MessageTypeNak)
	typeRelease  = byte(dhcpv4.MessageTypeRelease)
	typeInform   = byte(dhcpv4.MessageTypeInform)
)

// Option codes of IANA's registry that this package reads or writes.
const (
	optPad        = 0
	optMask       = 1
	optRouter     = 3
	optDNS        = 6
	optHostname   = 12
	optDomain     = 15
	optMTU        = 26
	optBroadcast  = 28
	optNTP        = 42
	optVendor     = 43
	optRequested  = 50
	optLeaseTime  = 51
	optOverload   = 52
	optType       = 53
	optServerID   = 54
	optPRL        = 55
	optText       = 56
	optMaxSize    = 57
	optT1         = 58
	optT2         = 59
	optClass      = 60
	optClientID   = 61
	optTFTPName   = 66
	optBootFile   = 67
	optUserClass  = 77
	optRelay      = 82
	optArch       = 93
	optMachineID  = 97
	optSubnet     = 118
	optIPXE       = 175
	optEnd        = 255
	subLink       = 5  // RFC 3527
	subServerID   = 11 // RFC 5107
	subSourcePort = 19 // RFC 8357
)

var (
	errShort   = errors.New("shorter than a DHCP message")
	errNotDHCP = errors.New("not a DHCP request")
	errHW      = errors.New("hardware address is not a MAC-48")
	errOption  = errors.New("an option runs past the end")
	errNoType  = errors.New("no message type")
	errNoMAC   = errors.New("hardware address is zero or a group's")
)

// message is a received packet, read in place: its slices are of the packet.
type message struct {
	raw            []byte
	mac            MAC
	ciaddr, giaddr uint32
	broadcast      bool

	typ                          byte
	requested, serverID, subnet  uint32 // 0 is absent
	maxSize                      int
	prl, clientID, class         []byte
	userClass, arch, machineID   []byte
	hostname, relay              []byte
	ipxe, hasSubnet, hasServerID bool
	linkSel, serverOverride      uint32
	sourcePort                   bool

	seen  [4]uint64 // option codes met
	split bool      // an option came in parts (RFC 3396)
	over  byte      // option overload (RFC 2132, section 9.3)
}

// parse reads a packet into m. What it cannot use it refuses: a server's
// reply, BOOTP without a type, hardware other than Ethernet (whose identity
// would be the client identifier alone, RFC 4390).
func (m *message) parse(b []byte) error {
	err := m.parseFast(b)
	if err != nil || !m.split {
		return err
	}
	return m.parseSplit(b)
}

// parseSplit reads a packet with an option in parts. It is rare, so it is left
// to the library: joined there, written anew, and read again.
func (m *message) parseSplit(b []byte) error {
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		return errOption
	}
	for _, v := range p.Options {
		if len(v) > 255 {
			return errOption // longer than any option that we read may be
		}
	}
	return m.parseFast(p.ToBytes())
}

func (m *message) parseFast(b []byte) error {
	*m = message{raw: b}
	if len(b) < offOpts {
		return errShort
	}
	if b[offOp] != opRequest || binary.BigEndian.Uint32(b[offCookie:]) != magicCookie {
		return errNotDHCP
	}
	if b[offHtype] != 1 || b[offHlen] != 6 {
		return errHW
	}
	m.mac = MAC(b[offChaddr : offChaddr+6])
	if m.mac == (MAC{}) || m.mac[0]&1 != 0 {
		return errNoMAC
	}
	m.ciaddr = binary.BigEndian.Uint32(b[offCiaddr:])
	m.giaddr = binary.BigEndian.Uint32(b[offGiaddr:])
	m.broadcast = binary.BigEndian.Uint16(b[offFlags:])&flagBcast != 0
	if err := m.options(b[offOpts:]); err != nil {
		return err
	}
	if m.over&1 != 0 {
		if err := m.options(b[offFile:offCookie]); err != nil {
			return err
		}
	}
	if m.over&2 != 0 {
		if err := m.options(b[offSname:offFile]); err != nil {
			return err
		}
	}
	if m.typ == 0 {
		return errNoType
	}
	return nil
}

// options reads one field of options up to its end option, or to the field's
// end where clients leave that out.
func (m *message) options(b []byte) error {
	for len(b) > 0 {
		code := b[0]
		if code == optEnd {
			return nil
		}
		if code == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errOption
		}
		v := b[2 : 2+int(b[1])]
		b = b[2+len(v):]
		if m.seen[code>>6]&(1<<(code&63)) != 0 {
			m.split = true
		}
		m.seen[code>>6] |= 1 << (code & 63)
		m.option(code, v)
	}
	return nil
}

// option takes one option; one of a wrong length is as if it were not there.
func (m *message) option(code byte, v []byte) {
	switch code {
	case optType:
		if len(v) == 1 {
			m.typ = v[0]
		}
	case optRequested:
		m.requested = addr4(v)
	case optServerID:
		m.serverID, m.hasServerID = addr4(v), len(v) == 4
	case optSubnet:
		m.subnet, m.hasSubnet = addr4(v), len(v) == 4
	case optMaxSize:
		if len(v) == 2 {
			m.maxSize = int(binary.BigEndian.Uint16(v))
		}
	case optOverload:
		if len(v) == 1 {
			m.over = v[0]
		}
	case optPRL:
		m.prl = v
	case optClientID:
		m.clientID = v
	case optClass:
		m.class = v
	case optUserClass:
		m.userClass = v
	case optArch:
		m.arch = v
	case optMachineID:
		m.machineID = v
	case optHostname:
		m.hostname = v
	case optIPXE:
		m.ipxe = true
	case optRelay:
		m.relay = v
		m.relayOptions(v)
	}
}

// relayOptions reads the sub-options of option 82 (RFC 3046). A malformed rest
// is skipped: the option is the relay's, and is echoed as it came.
func (m *message) relayOptions(b []byte) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		code, v := b[0], b[2:2+int(b[1])]
		b = b[2+len(v):]
		switch code {
		case subLink:
			m.linkSel = addr4(v)
		case subServerID:
			m.serverOverride = addr4(v)
		case subSourcePort:
			m.sourcePort = true
		}
	}
}

// wants reports whether the client's parameter request list names an option; a
// client without a list is taken to want all.
func (m *message) wants(code byte) bool {
	if m.prl == nil {
		return true
	}
	for _, c := range m.prl {
		if c == code {
			return true
		}
	}
	return false
}

func addr4(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}
