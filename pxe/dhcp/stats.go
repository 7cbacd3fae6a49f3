package dhcp

import "sync/atomic"

// Stats counts what the server did since it started. Each counter may be read
// at any time.
type Stats struct {
	Received  atomic.Uint64 // packets taken from the sockets
	Offers    atomic.Uint64 // DHCPOFFER sent
	Acks      atomic.Uint64 // DHCPACK sent, leases and informs
	Naks      atomic.Uint64 // DHCPNAK sent
	Declines  atomic.Uint64 // DHCPDECLINE taken
	Releases  atomic.Uint64 // DHCPRELEASE taken
	Malformed atomic.Uint64 // packets that cannot be read
	Foreign   atomic.Uint64 // packets that are not a DHCP client's on Ethernet
	Limited   atomic.Uint64 // packets beyond a client's rate
	NoSubnet  atomic.Uint64 // packets of a network that is not served
	NotOurs   atomic.Uint64 // requests to another server
	Exhausted atomic.Uint64 // clients for whom no address was left
	Commits   atomic.Uint64 // synced commits; Acks over this is the group's size
	Unsynced  atomic.Uint64 // acknowledgements withheld as the journal failed
	Unsent    atomic.Uint64 // replies that the kernel did not take
	LostEvent atomic.Uint64 // events that nobody took in time
}
