package dhcp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// MAC is an Ethernet address, comparable and without a pointer: a client's
// identity here (DESIGN.md says why it is not the client identifier).
type MAC [6]byte

// String returns the address in lower case with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Reservation is what a known machine is always given.
type Reservation struct {
	// Addr is its address; invalid means one from the pools. It counts on the
	// subnet that contains it; elsewhere the machine gets one from the pools.
	Addr netip.Addr
	// Hostname is option 12; empty is none.
	Hostname string
}

// Oracle says what is known of machines. Its methods are called from the
// server's loop, for every packet: they answer from memory, at once, and do
// not call the server. They must be safe for concurrent use with whatever
// changes the answers; a changed answer counts from the next packet.
type Oracle interface {
	// Host returns a known machine's reservation, and whether it is known.
	Host(mac MAC) (Reservation, bool)
	// Reserved reports whether an address is some machine's reservation, so
	// that the pools leave it alone.
	Reserved(addr netip.Addr) bool
	// Want says what a network-booting machine is to be told.
	Want(mac MAC) boot.Want
}

// State is what a lease record says of its address.
type State uint8

// The states of an address that outlive the server. Offers do not.
const (
	Bound    State = 1 + iota // leased until Expiry
	Released                  // given back; its last client is remembered
	Declined                  // found in use by another; not given out until Expiry
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Bound:
		return "bound"
	case Released:
		return "released"
	case Declined:
		return "declined"
	}
	return "unknown"
}

// Record is the durable state of one address: the newest record of an address
// replaces all older ones.
type Record struct {
	Addr netip.Addr
	// MAC is whose address it is or was; zero where it is nobody's any more but
	// stays out of use until Expiry.
	MAC    MAC
	State  State
	Expiry time.Time // in whole seconds
}

// Lease is a record as an operator sees it.
type Lease struct {
	Record
	Subnet netip.Prefix
	// Reserved tells an address outside the pools.
	Reserved bool
}

// Journal keeps records. Only one server uses a journal at a time.
type Journal interface {
	// Commit stores records, in their order, all or none, and returns once they
	// are synced. It is called from one goroutine and keeps nothing of the
	// slice. After an error the server does not acknowledge, and the client
	// asks again.
	Commit(ctx context.Context, records []Record) error
	// Load calls fn with the newest record of each address, in any order, and
	// ends with fn's first error.
	Load(ctx context.Context, fn func(Record) error) error
}

func addrOf(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

func u32Of(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
