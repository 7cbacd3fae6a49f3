// Package tftp serves boot files over TFTP, read-only: RFC 1350 with the
// option extension (RFC 2347), blksize (RFC 2348), timeout and tsize
// (RFC 2349) and windowsize (RFC 7440), in octet and netascii mode.
//
// A [Server] listens on one port and answers each read request from a
// connected UDP socket of its own, so that the kernel drops what other
// addresses or ports send into a transfer. A few event loops take the requests
// and own all transfers; what may wait for a disk, [Opener.Open] and reads,
// happens outside them, so a slow file delays nobody but its reader. Whole windows leave as ready-made
// packets by UDP segmentation offload, or by sendmmsg where the device
// cannot.
//
// What always holds: nothing is ever written; names are resolved only by the
// Opener, and [Dir] never leaves its root; the number of transfers (in total
// and per address), the packets sent without progress and the length of a
// transfer are bounded; a duplicated acknowledgement never doubles a transfer
// (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
package tftp
