package ra

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Numbers of RFC 8200 and RFC 4861.
const (
	protoICMPv6       = 58
	typeSolicitation  = 133
	typeAdvertisement = 134
	optSourceLink     = 1
	hopLimit          = 255 // section 6.1.1: proves that a packet was not routed

	ethernetLen = 14
	ipLen       = 40
)

// source is who advertises: our interface.
type source struct {
	mac [6]byte
	ip  netip.Addr // link-local
}

// sourceOf is an interface's link-local address, or the one that its MAC
// address gives (RFC 4291 appendix A) where it has none.
func sourceOf(ifi *net.Interface) source {
	s := source{mac: [6]byte(ifi.HardwareAddr)}
	addrs, _ := ifi.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			s.ip = p.Addr().WithZone("")
			return s
		}
	}
	m := s.mac
	s.ip = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
	return s
}

// solicitation is who asked.
type solicitation struct {
	mac [6]byte    // where to send the answer
	ip  netip.Addr // unspecified: the asker has no address yet
}

var errNotSolicitation = errors.New("not a valid router solicitation")

// parseSolicitation reads an Ethernet frame with the checks of RFC 4861,
// section 6.1.1.
func parseSolicitation(f []byte) (solicitation, error) {
	var s solicitation
	if len(f) < ethernetLen+ipLen+8 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IPV6 {
		return s, errNotSolicitation
	}
	ip := f[ethernetLen:]
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip[6] != protoICMPv6 || ip[7] != hopLimit || length < 8 || length > len(ip)-ipLen {
		return s, errNotSolicitation
	}
	body := ip[ipLen : ipLen+length]
	copy(s.mac[:], f[6:12])
	s.ip = netip.AddrFrom16([16]byte(ip[8:24]))
	if body[0] != typeSolicitation || body[1] != 0 || checksum(ip[8:ipLen], body) != 0 {
		return s, errNotSolicitation
	}
	if s.mac[0]&1 != 0 || s.ip.IsMulticast() {
		return s, errNotSolicitation
	}
	for opts := body[8:]; len(opts) > 0; {
		if len(opts) < 8 || opts[1] == 0 || int(opts[1])*8 > len(opts) {
			return s, errNotSolicitation
		}
		if opts[0] == optSourceLink && s.ip.IsUnspecified() {
			return s, errNotSolicitation
		}
		opts = opts[int(opts[1])*8:]
	}
	return s, nil
}

// advertisement is the frame that answers s: to the asker alone, at once
// (section 6.2.6 permits a unicast answer; its random delay is there to keep
// several routers' multicasts apart, of which this is none). The packet for an
// asker without an address is to all nodes, in a frame to that asker alone.
func advertisement(from source, s solicitation) []byte {
	dst := s.ip
	if dst.IsUnspecified() {
		dst = netip.IPv6LinkLocalAllNodes()
	}
	body := make([]byte, 16, 24) // all zero: hop limit, flags, lifetime and timers unspecified
	body[0] = typeAdvertisement
	body = append(body, optSourceLink, 1)
	body = append(body, from.mac[:]...)

	f := make([]byte, 0, ethernetLen+ipLen+len(body))
	f = append(f, s.mac[:]...)
	f = append(f, from.mac[:]...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, protoICMPv6, hopLimit)
	f = append(f, from.ip.AsSlice()...)
	f = append(f, dst.AsSlice()...)
	binary.BigEndian.PutUint16(body[2:], checksum(f[ethernetLen+8:], body))
	return append(f, body...)
}

// checksum is the ICMPv6 checksum (RFC 4443, section 2.3) over both addresses
// and the message; 0 for a message that carries its right one.
func checksum(addresses, body []byte) uint16 {
	sum := uint32(len(body)) + protoICMPv6
	for _, part := range [][]byte{addresses, body} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 == 1 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
