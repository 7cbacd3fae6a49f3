package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// session is one transfer. After start has made it, only its loop's goroutine
// touches it, except for pager, which belongs to the reading goroutine while
// reading is set.
type session struct {
	peer  netip.AddrPort
	name  string
	file  File
	sock  *socket
	terms terms

	sender sender
	pager  *pager
	cur    *page // holds the first block that is not acknowledged
	after  *page // the page after cur, if it has been read
	oack   []byte
	// reading: a goroutine fills the page after the last one we hold.
	// starved: blocks could be sent, were they read.
	// full: the socket's buffer is full, wait until it is writable.
	reading, starved, full, closed bool

	started  time.Time
	deadline time.Time // of the whole transfer
	expires  time.Time // when to send again
	tries    int       // retransmissions since the last progress
	resent   int       // blocks
	fragment bool      // the path turned out narrower than its device
}

var (
	errGaveUp   = errors.New("no acknowledgement from the client")
	errDeadline = errors.New("transfer took too long")
	errAborted  = errors.New("client ended the transfer")
	errShutdown = errors.New("server is shutting down")
)

// begin sends the first packets.
func (s *session) begin(now time.Time, c *Config) error {
	s.started, s.deadline = now, now.Add(c.Deadline)
	s.arm(now, c)
	if s.oack != nil {
		return s.sendOAck()
	}
	return s.push()
}

// arm sets when to send again, later with each try unless the client chose. It
// has a say only once it has answered, or a few packets from addresses where
// nobody is could hold all sessions for long.
func (s *session) arm(now time.Time, c *Config) {
	wait := s.terms.timeout
	if wait == 0 || s.oack != nil {
		wait = c.Timeout << min(s.tries, 3)
	}
	s.expires = now.Add(wait)
}

func (s *session) sendOAck() error {
	return s.absorb(s.sock.sendWhole(s.oack))
}

// push sends what the window and the pages that are here permit.
func (s *session) push() error {
	s.starved = false
	for !s.full {
		first, n := s.sender.next()
		if n == 0 {
			return nil
		}
		pg := s.cur
		if pg == nil || !pg.holds(first) {
			pg = s.after
		}
		if pg == nil || !pg.holds(first) {
			s.starved = true
			return nil
		}
		packets, n := pg.run(first, n, s.sock.stride)
		took, err := s.sock.send(packets)
		if took < len(packets) {
			n = took / s.sock.stride
		}
		s.resent += s.sender.out(n)
		if err := s.absorb(err); err != nil {
			return err
		}
	}
	return nil
}

// absorb sorts the errors of sending: a full buffer is waited for, a path
// narrower than its device may be crossed in fragments.
func (s *session) absorb(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		s.full = true
		return nil
	case errors.Is(err, unix.EMSGSIZE) && !s.fragment:
		s.fragment = true
		return s.sock.discoverMTU(s.peer.Addr().Is6(), true)
	default:
		return fmt.Errorf("send: %w", err)
	}
}

// receive handles a packet from the client. done is true when the transfer
// has ended; the error says if it failed.
func (s *session) receive(p []byte, now time.Time, c *Config) (done bool, err error) {
	if len(p) < headerLen {
		return false, nil
	}
	switch binary.BigEndian.Uint16(p) {
	case opAck:
		return s.receiveAck(binary.BigEndian.Uint16(p[2:]), now, c)
	case opError:
		return true, clientError(p)
	default:
		return false, nil // data, requests and noise mean nothing here
	}
}

func (s *session) receiveAck(block uint16, now time.Time, c *Config) (done bool, err error) {
	if s.oack != nil {
		if block != 0 {
			return false, nil
		}
		s.oack = nil
		s.progress(now, c)
		return false, s.push()
	}
	switch s.sender.ack(block) {
	case finished:
		return true, nil
	case advance:
		s.progress(now, c)
		return false, s.push()
	case resend:
		return false, s.push()
	default:
		return false, nil
	}
}

// progress restarts the timer and lets go of pages that have arrived.
func (s *session) progress(now time.Time, c *Config) {
	s.tries = 0
	s.arm(now, c)
	if s.cur != nil && s.after != nil && s.sender.acked+1 >= s.after.first {
		s.pager.pool.Put(s.cur.buf)
		s.cur, s.after = s.after, nil
	}
}

// wantsPage reports whether the next page is to be read now.
func (s *session) wantsPage() bool {
	return !s.reading && !s.closed && s.after == nil && s.cur != nil && !s.cur.final
}

// gotPage takes the page that the reading goroutine has read.
func (s *session) gotPage(pg *page) error {
	s.after = pg
	if pg.final {
		s.sender.last = pg.first + pg.n - 1
	}
	if s.starved {
		return s.push()
	}
	return nil
}

// tick sends again what has not been acknowledged in time.
func (s *session) tick(now time.Time, c *Config) error {
	switch {
	case now.After(s.deadline):
		return errDeadline
	case now.Before(s.expires):
		return nil
	case s.starved && s.sender.sent == s.sender.acked:
		s.arm(now, c) // it is the file that is slow, not the client
		return nil
	case s.tries >= c.Retries:
		return errGaveUp
	}
	s.tries++
	s.arm(now, c)
	s.full = false
	if s.oack != nil {
		return s.sendOAck()
	}
	s.sender.sent = s.sender.acked
	return s.push()
}

// clientError is what a client's ERROR packet says.
func clientError(p []byte) error {
	text := p[headerLen:]
	for i, c := range text {
		if c == 0 {
			text = text[:i]
			break
		}
	}
	return fmt.Errorf("%w: code %d %q", errAborted, binary.BigEndian.Uint16(p[2:]), text[:min(len(text), 120)])
}
