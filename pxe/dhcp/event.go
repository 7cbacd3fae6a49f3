package dhcp

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// EventKind says what happened to a client.
type EventKind uint8

// The kinds of event.
const (
	Offered      EventKind = 1 + iota // a new offer; a repeated one tells nothing
	Acknowledged                      // a lease, new or renewed, is durable and its DHCPACK sent
	Refused                           // a DHCPNAK was sent
	GivenBack                         // the client released its lease
	InUse                             // the client declined the address: another has it
	Exhausted                         // no address was left for the client
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case Offered:
		return "offered"
	case Acknowledged:
		return "acknowledged"
	case Refused:
		return "refused"
	case GivenBack:
		return "given back"
	case InUse:
		return "in use"
	case Exhausted:
		return "exhausted"
	}
	return "unknown"
}

// Event tells what a client asked and got: for discovery of machines that
// nobody knows yet, and for progress of those that boot.
type Event struct {
	Kind EventKind
	Time time.Time
	MAC  MAC
	// Addr is the address it is about; invalid for Exhausted.
	Addr netip.Addr
	// Subnet is the network it was seen on.
	Subnet netip.Prefix
	// Client is what the packet said of the machine; its MAC is not set. The
	// UUID is option 97's bytes in the order in which they were sent: firmware
	// differs on that of the first three fields.
	Client boot.Client
	// Boot is what it was told about booting.
	Boot boot.Answer
	// Hostname is what the client calls itself (option 12): untrusted bytes.
	Hostname string
	// Relay is the relay's address; invalid for the server's own network.
	Relay netip.Addr
}

// uuidText returns option 97's UUID as text, or "".
func uuidText(v []byte) string {
	if len(v) != 17 || v[0] != 0 {
		return ""
	}
	var b [36]byte
	v = v[1:]
	n := 0
	for i, part := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			b[n] = '-'
			n++
		}
		hex.Encode(b[n:], v[:part])
		v, n = v[part:], n+2*part
	}
	return string(b[:])
}
