package tftp

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tickEvery is how often timers are looked at while there are transfers.
const tickEvery = 50 * time.Millisecond

// event is news for a loop from another goroutine: a session to adopt (no
// page, no error), or the page that was read for one.
type event struct {
	session *session
	page    *page
	err     error
}

// loop runs the transfers that were given to it, on one goroutine.
type loop struct {
	srv      *Server
	epoll    int
	wake     int // eventfd
	sessions map[int32]*session
	readers  sync.WaitGroup
	request  []byte    // a request, while it is taken
	oob      []byte    // and its control messages
	once     sync.Once // of release: a number that is closed twice is another's by then

	mu     sync.Mutex // guards events and closed
	events []event
	closed bool
}

func newLoop(srv *Server) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &loop{srv: srv, epoll: ep, wake: wake, sessions: map[int32]*session{},
		request: make([]byte, maxRequest+1), oob: make([]byte, 256)}
	if err := errors.Join(l.watch(unix.EPOLL_CTL_ADD, wake, unix.EPOLLIN),
		l.watch(unix.EPOLL_CTL_ADD, srv.listener.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE)); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (l *loop) watch(op, fd int, events uint32) error {
	if err := unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// release frees the loop's descriptors; again is no harm.
func (l *loop) release() {
	l.once.Do(func() {
		unix.Close(l.wake)
		unix.Close(l.epoll)
	})
}

// post hands news to the loop; false if the loop has ended.
func (l *loop) post(e event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.events = append(l.events, e)
	if len(l.events) == 1 {
		l.rouse()
	}
	return true
}

// rouse ends the loop's wait. The eventfd is closed only after closed is set.
func (l *loop) rouse() {
	one := [8]byte{0: 1}
	_, _ = unix.Write(l.wake, one[:]) // EAGAIN: it is awake already
}

// stop makes run return; safe to call more than once.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.rouse()
	}
}

// run serves until stop, then ends all transfers and waits for their readers.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 128)
	packet := make([]byte, 2048) // ACKs and ERRORs; longer ones are cut, which harms nothing
	ticked := time.Now()
	w := waiter{epoll: l.epoll}
	for {
		timeout := -1
		if len(l.sessions) > 0 {
			timeout = int(tickEvery.Milliseconds())
		}
		n, err := w.wait(events, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.abandon()
			return fmt.Errorf("epoll_wait: %w", err)
		}
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			switch int(e.Fd) {
			case l.wake:
				if !l.takeEvents() {
					l.abandon()
					return nil
				}
			case l.srv.listener.fd:
				l.requests()
			default:
				l.ready(e, packet, now)
			}
		}
		if now.Sub(ticked) >= tickEvery {
			ticked = now
			l.tick(now)
		}
	}
}

// takeEvents handles what was posted; false when the loop is to end.
func (l *loop) takeEvents() bool {
	var drain [8]byte
	_, _ = unix.Read(l.wake, drain[:])
	l.mu.Lock()
	events, closed := l.events, l.closed
	l.events = nil
	l.mu.Unlock()
	for _, e := range events {
		switch {
		case closed && e.page == nil && e.err == nil:
			l.end(e.session, errShutdown)
		case e.page == nil && e.err == nil:
			l.adopt(e.session)
		default:
			l.pageRead(e)
		}
	}
	return !closed
}

func (l *loop) adopt(s *session) {
	l.sessions[int32(s.sock.fd)] = s
	if err := l.watch(unix.EPOLL_CTL_ADD, s.sock.fd, unix.EPOLLIN); err != nil {
		l.end(s, err)
		return
	}
	l.after(s, nil)
}

func (l *loop) pageRead(e event) {
	s := e.session
	s.reading = false
	switch {
	case s.closed:
		if e.page != nil {
			s.pager.free(e.page)
		}
		s.file.Close()
	case e.err != nil:
		l.end(s, e.err)
	default:
		l.after(s, s.gotPage(e.page))
	}
}

// ready receives one packet, or goes on sending; epoll comes back for more.
func (l *loop) ready(e unix.EpollEvent, packet []byte, now time.Time) {
	s := l.sessions[e.Fd]
	if s == nil {
		return
	}
	if e.Events&unix.EPOLLOUT != 0 {
		s.full = false
		_ = l.watch(unix.EPOLL_CTL_MOD, s.sock.fd, unix.EPOLLIN)
		if s.oack == nil {
			l.after(s, s.push())
		}
		return
	}
	n, err := rawRead(s.sock.fd, packet)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	case errors.Is(err, unix.EMSGSIZE) && !s.fragment: // a router on the path says so
		l.after(s, s.absorb(err))
	case err != nil:
		l.end(s, fmt.Errorf("receive: %w", err))
	default:
		hadOAck, acked := s.oack != nil, s.sender.acked
		done, err := s.receive(packet[:n], now, &l.srv.cfg)
		if done || err != nil {
			l.end(s, err)
			return
		}
		if acked == 0 && (s.sender.acked > 0 || hadOAck && s.oack == nil) {
			l.srv.admission.answered(s.peer)
		}
		l.after(s, nil)
	}
}

// after does what any step may have made necessary.
func (l *loop) after(s *session, err error) {
	if err != nil {
		l.end(s, err)
		return
	}
	if s.full {
		_ = l.watch(unix.EPOLL_CTL_MOD, s.sock.fd, unix.EPOLLIN|unix.EPOLLOUT)
	}
	if !s.wantsPage() {
		return
	}
	if pg := s.pager.fillNow(); pg != nil {
		l.after(s, s.gotPage(pg))
		return
	}
	s.reading = true
	l.readers.Add(1)
	go l.read(s)
}

// discard frees a session that the loop has never seen.
func (s *session) discard() {
	s.sock.close()
	s.pager.free(s.cur)
	s.file.Close()
}

// read fills a page and hands it to the loop.
func (l *loop) read(s *session) {
	defer l.readers.Done()
	pg, err := s.pager.fill()
	if !l.post(event{s, pg, err}) {
		s.file.Close()
	}
}

func (l *loop) tick(now time.Time) {
	for _, s := range l.sessions {
		l.after(s, s.tick(now, &l.srv.cfg))
	}
}

// end closes a transfer and tells of it. A failure that the client does not
// know of is sent to it, once: an ERROR is not acknowledged (RFC 1350 section 7).
func (l *loop) end(s *session, err error) {
	if s.closed {
		return
	}
	s.closed = true
	delete(l.sessions, int32(s.sock.fd))
	if err != nil {
		_ = s.sock.sendWhole(appendError(nil, &Error{CodeUndefined, "transfer failed"}))
	}
	s.sock.close()
	for _, pg := range []*page{s.cur, s.after} {
		if pg != nil {
			l.srv.pages.Put(pg.buf)
		}
	}
	s.cur, s.after = nil, nil
	if !s.reading {
		s.file.Close()
	}
	l.srv.ended(s, err)
}

// abandon ends what is left when the loop ends.
func (l *loop) abandon() {
	l.stop()
	for _, s := range l.sessions {
		l.end(s, errShutdown)
	}
	l.readers.Wait()
	l.takeEvents()
	l.release()
}
