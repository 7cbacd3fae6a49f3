package tftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Server answers TFTP read requests. Make one with New and run it with Serve.
type Server struct {
	cfg       Config
	opener    Opener
	log       *slog.Logger
	conn      *net.UDPConn
	loops     []*loop
	admission *admission
	pages     sync.Pool // of *pageBuf
	starting  sync.WaitGroup
	counters  counters
	complain  throttle
	turn      uint32 // loops take sessions in turn; only the listener uses it
}

// New checks the configuration and opens the listening socket, so that a port
// in use or a missing privilege is known before Serve. A Server that is never
// served is to be closed with Close.
func New(cfg Config, opener Opener, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, opener: opener, log: log,
		admission: newAdmission(cfg.Sessions, cfg.SessionsPerClient)}
	s.pages.New = func() any { return new(pageBuf) }
	if err := s.listen(); err != nil {
		return nil, fmt.Errorf("tftp: listen on %v: %w", cfg.Listen, err)
	}
	for range cfg.Loops {
		l, err := newLoop(s)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("tftp: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	return s, nil
}

func (s *Server) listen() error {
	network := "udp4"
	if s.cfg.Listen.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		ctrl := c.Control(func(fd uintptr) { err = s.prepare(int(fd), network) })
		return errors.Join(ctrl, err)
	}}
	conn, err := lc.ListenPacket(context.Background(), network, s.cfg.Listen.String())
	if err != nil {
		return err
	}
	s.conn = conn.(*net.UDPConn)
	return s.conn.SetReadBuffer(1 << 20) // a rack that is switched on asks all at once
}

// prepare makes the listening socket tell which address a request was sent to.
func (s *Server) prepare(fd int, network string) error {
	if s.cfg.Interface != "" {
		if err := unix.BindToDevice(fd, s.cfg.Interface); err != nil {
			return fmt.Errorf("bind to %s: %w", s.cfg.Interface, err)
		}
	}
	if network == "udp6" {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// Addr is the address that requests are received on.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close frees what New opened. After Serve has returned it does nothing, so that
// it can be deferred; while Serve runs it must not be called.
func (s *Server) Close() error {
	for _, l := range s.loops {
		l.release()
	}
	if err := s.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve answers requests until ctx ends, then ends all transfers, waits for
// their goroutines, and returns nil; or the error that kept it from serving.
func (s *Server) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.loops {
		g.Go(l.run)
	}
	g.Go(func() error { return s.receive(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		s.conn.Close()
		return nil
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("tftp: %w", err)
	}
	return nil
}

// receive reads requests until ctx ends; then it waits for those that are
// being opened and stops the loops.
func (s *Server) receive(ctx context.Context) error {
	defer func() {
		s.starting.Wait()
		for _, l := range s.loops {
			l.stop()
		}
	}()
	packet, oob := make([]byte, maxRequest+1), make([]byte, 256)
	for {
		n, oobn, _, peer, err := s.conn.ReadMsgUDPAddrPort(packet, oob)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("receive: %w", err)
		case err != nil: // a network that is down comes back
			s.warn("request not received", "err", err)
			if !sleep(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		s.request(ctx, packet[:n], peer, s.local(oob[:oobn]))
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// request refuses a request or starts its transfer.
func (s *Server) request(ctx context.Context, packet []byte, peer netip.AddrPort, local netip.Addr) {
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
	s.turn++
	l := s.loops[int(s.turn)%len(s.loops)]
	s.starting.Add(1)
	go func() {
		defer s.starting.Done()
		session, err := s.start(ctx, req, peer, local)
		if err != nil {
			s.admission.leave(peer)
			s.refuse(peer, local, req.name, err)
			return
		}
		if !l.post(event{session: session}) {
			s.admission.leave(peer)
			session.discard()
		}
	}()
}
