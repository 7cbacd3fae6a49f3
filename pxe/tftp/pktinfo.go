package tftp

import (
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// local is the address that a request was sent to, from its control message:
// the transfer must come from there, or the client will not take it. It is
// invalid when that is unknown or no address to send from.
func (s *Server) local(oob []byte) netip.Addr {
	var dst []byte
	if s.cfg.Listen.Addr().Is6() {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) == nil {
			dst = cm.Dst
		}
	} else {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) == nil {
			dst = cm.Dst
		}
	}
	a, ok := netip.AddrFromSlice(dst)
	a = a.Unmap()
	if !ok || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return a
}

// source is the control message that sends from local.
func source(local netip.Addr) []byte {
	switch {
	case !local.IsValid():
		return nil
	case local.Is4():
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	default:
		return (&ipv6.ControlMessage{Src: local.AsSlice()}).Marshal()
	}
}
