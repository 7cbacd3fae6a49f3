package tftp

import (
	"context"
	"net/netip"
	"time"
)

// open opens the file, and starts its transfer or refuses the request. It may
// wait for a disk. The first packets leave from here and not from the loop,
// which would have to be woken up first.
func (s *Server) open(req request, peer netip.AddrPort, local netip.Addr) *session {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.OpenTimeout)
	defer cancel()
	f, err := s.opener.Open(ctx, req.name, peer)
	if err != nil {
		s.admission.leave(peer)
		s.refuse(peer, local, req.name, err)
		return nil
	}
	return s.start(req, f, peer, local)
}

// start sends the first packets of f, which it closes if it cannot: then the
// request was refused and there is no session.
func (s *Server) start(req request, f File, peer netip.AddrPort, local netip.Addr) *session {
	session, err := s.negotiate(req, f, peer, local)
	if err != nil {
		f.Close()
	} else if err = session.begin(time.Now(), &s.cfg); err != nil {
		session.discard()
	}
	if err != nil {
		s.admission.leave(peer)
		s.refuse(peer, local, req.name, err)
		return nil
	}
	return session
}

func (s *Server) negotiate(req request, f File, peer netip.AddrPort, local netip.Addr) (*session, error) {
	sock, err := dial(local, peer, s.cfg.Interface, s.cfg.Fragment)
	if err != nil {
		return nil, err
	}
	b := bounds{block: maxBlock, window: s.cfg.Window, bytes: pageBytes, size: f.Size()}
	if req.ascii {
		b.size = -1 // unknown before translation
	}
	if !s.cfg.Fragment {
		payload, err := sock.payload(peer.Addr().Is6())
		if err != nil {
			sock.close()
			return nil, err
		}
		b.block = max(min(maxBlock, payload-headerLen), defaultBlock)
	}
	t := negotiate(req.options, b)
	if t.capped {
		s.log.Debug("block size lowered so that a packet fits one frame", "peer", peer, "granted", t.block)
	}
	sock.segment(t.block+headerLen, t.window > 1 && !s.cfg.NoSegmentation)
	ses := &session{peer: peer, name: req.name, file: f, sock: sock, terms: t,
		sender: sender{window: uint64(t.window)},
		pager:  newPager(f, t.block, req.ascii, &s.pages)}
	if len(t.accept) > 0 {
		ses.oack = appendOAck(nil, t.accept)
	}
	if ses.cur, err = ses.pager.fill(); err != nil {
		sock.close()
		return nil, err
	}
	if ses.cur.final {
		ses.sender.last = ses.cur.n
	}
	return ses, nil
}
