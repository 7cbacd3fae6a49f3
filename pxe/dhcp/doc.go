// Package dhcp is the pod's DHCPv4 server: addresses for the machines of its
// networks, and the first word to those that network-boot.
//
// It speaks RFC 2131 and 2132 with relay options (RFC 3046, 3527, 5107, 8357),
// PXE options by client architecture (RFC 4578), the client identifier echoed
// (RFC 6842), and ProxyDHCP (PXE 2.1) as an option. It knows nothing of
// machines: an [Oracle] says which MAC address has a reservation and which is
// to be booted, package boot says what to tell it.
//
// What always holds:
//
//   - A lease is in the [Journal], synced, before its DHCPACK leaves.
//   - An address is held by at most one client of its subnet, across restarts.
//   - One packet costs bounded work and no allocation, whatever it contains;
//     one client costs a bounded rate of packets and one address a subnet.
//   - With more clients than it can serve, it finishes the exchanges begun and
//     leaves new ones waiting.
//
// The parts: message and writer (the wire), table (who holds what), engine (a
// packet and the time in, a decision out; no sockets, no clock), server (the
// sockets, the loop, and group commit). DESIGN.md has the reasons.
package dhcp
