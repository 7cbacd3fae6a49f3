package tftp

// verdict is what an acknowledgement means for a transfer.
type verdict int

const (
	ignore   verdict = iota // nothing to do
	advance                 // send on from the block after acked
	resend                  // the client lost the window's start: send it again
	finished                // the last block has been acknowledged
)

// sender is the sending side of one transfer without its effects: which
// blocks are out and what an ACK says about them. Blocks are counted from 1
// and never wrap here; only the 16 bits on the wire do, and they go on from
// 65535 to 0, as every known client expects.
type sender struct {
	window uint64 // blocks in flight at most
	acked  uint64 // all blocks up to this one have arrived
	sent   uint64 // sent since the last ACK moved or a resend, up to this one
	high   uint64 // highest block ever sent
	last   uint64 // the final block; 0 while unknown
	resent bool   // a duplicate ACK has already had this window sent again
}

// ack judges the ACK of the block with wire number n.
//
// An ACK of what is acknowledged already is a duplicate. In lock-step it is
// ignored, and only the timer sends again: answering it would double every
// following packet (RFC 1123 section 4.2.3.1). With a window it is how a
// client says that the window's first block is missing (RFC 7440 section 4),
// so it is heeded, but once per window, which bounds the doubling to one.
func (s *sender) ack(n uint16) verdict {
	delta := uint64(n - uint16(s.acked))
	switch {
	case delta == 0 && s.window > 1 && s.sent > s.acked && !s.resent:
		s.resent = true
		s.sent = s.acked
		return resend
	case delta == 0 || delta > s.high-s.acked:
		return ignore
	}
	s.acked += delta
	s.resent = false
	if s.acked == s.last {
		return finished
	}
	s.sent = s.acked
	return advance
}

// out notes that n more blocks are sent, and returns how many of them had been
// sent before.
func (s *sender) out(n int) (again int) {
	again = int(min(s.high, s.sent+uint64(n)) - min(s.high, s.sent))
	s.sent += uint64(n)
	s.high = max(s.high, s.sent)
	return again
}

// next returns the blocks that may be sent now: from first, n of them; n is 0
// when the window is out.
func (s *sender) next() (first uint64, n int) {
	end := s.acked + s.window
	if s.last != 0 {
		end = min(end, s.last)
	}
	return s.sent + 1, int(end - min(end, s.sent))
}
