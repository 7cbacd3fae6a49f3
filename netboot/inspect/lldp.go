package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/gantry-pod/gantry/netboot/job"
)

// LLDP TLV types (IEEE 802.1AB-2016 table 8-1) and the organisationally
// specific Port VLAN ID (IEEE 802.1Q annex D.2.1).
const (
	tlvEnd        = 0
	tlvChassisID  = 1
	tlvPortID     = 2
	tlvTTL        = 3
	tlvPortDesc   = 4
	tlvSystemName = 5
	tlvOrg        = 127

	subtypeChassisMAC  = 4
	subtypeChassisAddr = 5
	subtypePortMAC     = 3
	subtypePortAddr    = 4
	portVLANID         = "\x00\x80\xc2\x01"
)

var errLLDP = errors.New("not an LLDP data unit")

// parseLLDP reads an LLDP data unit, without the Ethernet header. Its first
// three TLVs must be chassis ID, port ID and time to live (8.2); a time of 0
// says that the neighbour leaves, which is an error here.
func parseLLDP(b []byte) (job.Neighbour, error) {
	var n job.Neighbour
	for i := 1; ; i++ {
		kind, v, rest, err := tlv(b)
		if err != nil {
			return n, err
		}
		if i <= tlvTTL && kind != i {
			return n, fmt.Errorf("%w: TLV %d has type %d", errLLDP, i, kind)
		}
		switch kind {
		case tlvEnd:
			return n, nil
		case tlvTTL:
			if len(v) < 2 || binary.BigEndian.Uint16(v) == 0 {
				return n, fmt.Errorf("%w: it lives no more", errLLDP)
			}
		default:
			if err := set(&n, kind, v); err != nil {
				return n, err
			}
		}
		if b = rest; len(b) == 0 && i >= tlvTTL { // an End TLV is optional for receivers
			return n, nil
		}
	}
}

// tlv cuts one TLV off: 7 bits of type, 9 of length.
func tlv(b []byte) (kind int, v, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, fmt.Errorf("%w: cut off", errLLDP)
	}
	h := binary.BigEndian.Uint16(b)
	n := int(h & 0x1ff)
	if len(b) < 2+n {
		return 0, nil, nil, fmt.Errorf("%w: a TLV of %d bytes in %d", errLLDP, n, len(b)-2)
	}
	return int(h >> 9), b[2 : 2+n], b[2+n:], nil
}

func set(n *job.Neighbour, kind int, v []byte) error {
	switch kind {
	case tlvChassisID, tlvPortID:
		if len(v) < 2 {
			return fmt.Errorf("%w: an empty ID", errLLDP)
		}
		if kind == tlvChassisID {
			n.ChassisID = id(v[1:], v[0] == subtypeChassisMAC, v[0] == subtypeChassisAddr)
		} else {
			n.PortID = id(v[1:], v[0] == subtypePortMAC, v[0] == subtypePortAddr)
		}
	case tlvPortDesc:
		n.PortDesc = clean(v)
	case tlvSystemName:
		n.SystemName = clean(v)
	case tlvOrg:
		if rest, ok := strings.CutPrefix(string(v), portVLANID); ok && len(rest) >= 2 {
			n.VLAN = int(rest[0])<<8 | int(rest[1])
		}
	}
	return nil
}

// id writes a MAC address with colons, a network address (with its IANA family
// in front) as such, and anything else as text.
func id(v []byte, mac, addr bool) string {
	if mac && len(v) == 6 {
		return net.HardwareAddr(v).String()
	}
	if addr && len(v) > 1 {
		if a, ok := netip.AddrFromSlice(v[1:]); ok {
			return a.String()
		}
	}
	return clean(v)
}

// clean makes text of outside bytes fit for a log and a screen.
func clean(v []byte) string {
	if !utf8.Valid(v) {
		return fmt.Sprintf("%x", v)
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return -1
		}
		return r
	}, string(v)))
}
