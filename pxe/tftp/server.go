package tftp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Server answers TFTP read requests. Make one with New and run it with Serve.
type Server struct {
	cfg       Config
	opener    Opener
	ready     Ready // opener, if it is that too
	log       *slog.Logger
	listener  *listener // nil when it is closed
	addr      netip.AddrPort
	admission *admission
	pages     sync.Pool // of *pageBuf
	starting  sync.WaitGroup
	counters  counters
	complain  throttle
}

// New checks the configuration and opens the listening socket, so that a port
// in use or a missing privilege is known before Serve. A Server that is never
// served is to be closed with Close.
func New(cfg Config, opener Opener, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, opener: opener, log: log, addr: cfg.Listen,
		admission: newAdmission(cfg.Sessions, cfg.SessionsPerClient)}
	s.ready, _ = opener.(Ready)
	s.pages.New = func() any { return new(pageBuf) }
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.addr = s.listener.addr
	return s, nil
}

func (s *Server) listen() (err error) {
	if s.listener, err = listen(s.addr, s.cfg.Interface); err != nil {
		return fmt.Errorf("tftp: listen on %v: %w", s.addr, err)
	}
	return nil
}

// Addr is the address that requests are received on.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close frees what New opened. After Serve has returned it does nothing, so that
// it can be deferred; while Serve runs it must not be called.
func (s *Server) Close() error {
	if s.listener != nil {
		s.listener.close()
		s.listener = nil
	}
	return nil
}

// Serve answers requests until ctx ends, then ends all transfers, waits for
// their goroutines, and returns nil; or the error that kept it from serving,
// such as an interface that went away. It may be called again afterwards.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		if err := s.listen(); err != nil {
			return err
		}
	}
	defer s.Close()
	defer s.starting.Wait() // they answer through the listener
	loops, err := s.makeLoops()
	if err != nil {
		return fmt.Errorf("tftp: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range loops {
		g.Go(l.run)
	}
	g.Go(func() error { return s.listener.watch(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		for _, l := range loops {
			l.stop()
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("tftp: %w", err)
	}
	return nil
}

func (s *Server) makeLoops() (loops []*loop, err error) {
	for range s.cfg.Loops {
		l, err := newLoop(s)
		if err != nil {
			for _, l := range loops {
				l.release()
			}
			return nil, err
		}
		loops = append(loops, l)
	}
	return loops, nil
}
