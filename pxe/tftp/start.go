package tftp

import (
	"context"
	"net/netip"
	"time"
)

// start opens the file and the socket, reads the first page, and sends the first
// packets: here and not in the loop, which would have to be woken up first.
func (s *Server) start(ctx context.Context, req request, peer netip.AddrPort, local netip.Addr) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OpenTimeout)
	defer cancel()
	f, err := s.opener.Open(ctx, req.name, peer)
	if err != nil {
		return nil, err
	}
	session, err := s.negotiate(req, f, peer, local)
	if err != nil {
		f.Close()
		return nil, err
	}
	if err := session.begin(time.Now(), &s.cfg); err != nil {
		session.discard()
		return nil, err
	}
	return session, nil
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
