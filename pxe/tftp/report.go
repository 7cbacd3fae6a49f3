package tftp

import (
	"errors"
	"io/fs"
	"net/netip"
	"sync/atomic"
	"time"
)

// refuse answers a request with an ERROR, from the listening port: the client
// has not heard from another one yet.
func (s *Server) refuse(peer netip.AddrPort, local netip.Addr, name string, err error) {
	if errors.Is(err, errNotRequest) {
		s.counters.ignored.Add(1)
		return
	}
	s.counters.refused.Add(1)
	s.warn("request refused", "peer", peer, "name", name, "err", err)
	s.listener.send(appendError(nil, clientText(err)), local, peer)
}

// clientText is what a client is told of an error: what it did, nothing of
// how this server is made.
func clientText(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, fs.ErrNotExist):
		return &Error{CodeNotFound, "file not found"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{CodeAccess, "access violation"}
	default:
		return &Error{CodeUndefined, "cannot serve this file"}
	}
}

// ended accounts for a transfer that is over.
func (s *Server) ended(ses *session, err error) {
	s.admission.leave(ses.peer)
	t := Transfer{Peer: ses.peer, Name: ses.name, Took: time.Since(ses.started),
		BlockSize: ses.terms.block, Window: ses.terms.window, Resent: ses.resent, Err: err,
		Negotiated: len(ses.terms.accept) > 0}
	if ses.started.IsZero() {
		t.Took = 0
	}
	t.Bytes = int64(ses.sender.acked) * int64(ses.terms.block)
	if err == nil {
		t.Bytes = ses.pager.offset
	}
	s.counters.add(t)
	args := []any{"peer", t.Peer, "name", t.Name, "bytes", t.Bytes, "took", t.Took,
		"blksize", t.BlockSize, "windowsize", t.Window, "resent", t.Resent}
	switch {
	case err == nil:
		s.log.Info("file sent", args...)
	case errors.Is(err, errAborted): // firmware asks for the size and hangs up
		s.log.Debug("client ended the transfer", append(args, "err", err)...)
	default:
		s.warn("file not sent", append(args, "err", err)...)
	}
	if s.cfg.OnTransfer != nil {
		s.cfg.OnTransfer(t)
	}
}

// warn logs what any stranger on the network can cause, a few times a second.
func (s *Server) warn(msg string, args ...any) {
	if s.complain.allow(time.Now()) {
		s.log.Warn(msg, args...)
	}
}

// throttle lets ten events a second through.
type throttle struct {
	second atomic.Int64
	count  atomic.Int32
}

func (t *throttle) allow(now time.Time) bool {
	if sec := now.Unix(); t.second.Swap(sec) != sec {
		t.count.Store(0)
	}
	return t.count.Add(1) <= 10
}
