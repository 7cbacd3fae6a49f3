package deploy

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// line is one end of a connection in memory that holds what was written until
// it is read, as TCP does: SSH has both ends write before either reads.
type line struct {
	in, out *half
}

// half is one direction of a line.
type half struct {
	mu     sync.Mutex // guards the rest
	cond   *sync.Cond
	buf    bytes.Buffer
	closed bool
}

func newHalf() *half {
	h := &half{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func newLine() (near, far net.Conn) {
	a, b := newHalf(), newHalf()
	return &line{a, b}, &line{b, a}
}

// Read implements net.Conn.
func (l *line) Read(b []byte) (int, error) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	for l.in.buf.Len() == 0 {
		if l.in.closed {
			return 0, io.EOF
		}
		l.in.cond.Wait()
	}
	return l.in.buf.Read(b)
}

// Write implements net.Conn.
func (l *line) Write(b []byte) (int, error) {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	if l.out.closed {
		return 0, net.ErrClosed
	}
	l.out.cond.Broadcast()
	return l.out.buf.Write(b)
}

// Close implements net.Conn.
func (l *line) Close() error {
	for _, h := range []*half{l.in, l.out} {
		h.mu.Lock()
		h.closed = true
		h.cond.Broadcast()
		h.mu.Unlock()
	}
	return nil
}

// The rest of net.Conn; nobody asks it here.
func (l *line) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (l *line) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (l *line) SetDeadline(time.Time) error      { return nil }
func (l *line) SetReadDeadline(time.Time) error  { return nil }
func (l *line) SetWriteDeadline(time.Time) error { return nil }
