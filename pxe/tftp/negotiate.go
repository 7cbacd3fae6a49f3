package tftp

import (
	"strconv"
	"time"
)

// Bounds of the options' values, by the RFCs.
const (
	defaultBlock = 512   // RFC 1350
	minBlock     = 8     // RFC 2348
	maxBlock     = 65464 // RFC 2348
	maxWindow    = 65535 // RFC 7440
)

// terms are what a transfer was negotiated to.
type terms struct {
	block   int           // bytes of data in a full block
	window  int           // blocks sent before an ACK is awaited
	timeout time.Duration // the client's retransmission interval; 0 if it named none
	accept  []option      // for the OACK; empty means there is none to send
	capped  bool          // block is smaller than asked for, so that it fits one frame
}

// bounds limit what negotiate grants.
type bounds struct {
	block  int   // largest block that fits one frame
	window int   // most blocks of a window
	bytes  int   // most bytes of a window, packet headers included
	size   int64 // of the file; not positive: tsize is not answered
}

// negotiate decides a transfer's terms from the request's options. An option
// with a value outside its RFC's range is left out of the acknowledgement, as
// RFC 2347 has it, and thereby stays at its default; one that is in range but
// more than we grant is lowered where its RFC permits that.
func negotiate(options []option, b bounds) terms {
	t := terms{block: defaultBlock, window: 1}
	window := -1
	for _, o := range options {
		n, err := strconv.ParseInt(o.value, 10, 64)
		if err != nil {
			continue
		}
		switch {
		case o.name == "blksize" && n >= minBlock && n <= maxBlock:
			t.block = min(int(n), b.block)
			t.capped = t.block < int(n)
			t.accept = append(t.accept, option{o.name, strconv.Itoa(t.block)})
		case o.name == "timeout" && n >= 1 && n <= 255:
			t.timeout = time.Duration(n) * time.Second
			t.accept = append(t.accept, o)
		case o.name == "tsize" && n >= 0 && b.size > 0: // curl takes 0 for an error
			t.accept = append(t.accept, option{o.name, strconv.FormatInt(b.size, 10)})
		case o.name == "windowsize" && n >= 1 && n <= maxWindow:
			window = int(n)
		}
	}
	if window > 0 { // last: its bound in bytes depends on the block size
		t.window = max(1, min(window, b.window, b.bytes/(t.block+headerLen)))
		t.accept = append(t.accept, option{"windowsize", strconv.Itoa(t.window)})
	}
	return t
}
