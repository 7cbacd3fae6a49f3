package tftp

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// requestsAtOnce is how many requests a loop takes before it looks after its
// transfers again.
const requestsAtOnce = 32

// requests takes the requests that have arrived.
func (l *loop) requests() {
	for range requestsAtOnce {
		n, oobn, peer, err := l.srv.listener.receive(l.request, l.oob)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil: // a network that is down comes back
			l.srv.warn("request not received", "err", err)
			return
		}
		l.accept(l.request[:n], peer, l.srv.local(l.oob[:oobn]))
	}
}

// accept refuses a request or starts its transfer: at once if the file is at
// hand, else as soon as a goroutine has opened it.
func (l *loop) accept(packet []byte, peer netip.AddrPort, local netip.Addr) {
	s := l.srv
	s.counters.requests.Add(1)
	req, err := parseRequest(packet)
	if err != nil {
		s.refuse(peer, local, "", err)
		return
	}
	switch s.admission.enter(peer, packet) {
	case repeated:
		return
	case fullServer:
		s.refuse(peer, local, req.name, &Error{CodeUndefined, "server is busy, try again"})
		return
	case fullClient:
		s.refuse(peer, local, req.name, &Error{CodeUndefined, "too many transfers to this address"})
		return
	}
	if s.ready != nil {
		if f, ok := s.ready.OpenNow(req.name, peer); ok {
			if session := s.start(req, f, peer, local); session != nil {
				l.adopt(session)
			}
			return
		}
	}
	s.starting.Go(func() {
		session := s.open(req, peer, local)
		if session != nil && !l.post(event{session: session}) {
			s.admission.leave(peer)
			session.discard()
		}
	})
}
