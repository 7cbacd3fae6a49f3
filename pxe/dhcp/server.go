package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// batch is how many packets are taken at once. The discovers' batch is smaller,
// so that requests which came meanwhile wait little.
const (
	batch         = 128
	discoverBatch = 32
)

// Under load the loop naps between batches: a packet alone costs several times
// its share of a batch, in waking up and in system calls. The first packet after
// a pause of busyGap is served at once.
const (
	nap     = time.Millisecond
	busyGap = 2 * time.Millisecond
)

// Server is a DHCP server on one interface. Make it with New, run it with Serve.
type Server struct {
	cfg     Config
	journal Journal
	log     *slog.Logger
	stats   Stats
	clock   func() time.Time

	mu     sync.Mutex // guards engine, with its table
	engine *engine

	events  chan Event
	onEvent func(Event)
	pending *pending

	owed      []Record // what commits failed to store; the committer's
	unhealthy atomic.Pointer[error]
}

// New returns a server that has loaded its leases from the journal. events, if
// not nil, is told what happens, one call at a time and in order, not from the
// server's loop: it may block for a while, and then events are lost and counted.
func New(ctx context.Context, cfg Config, oracle Oracle, journal Journal, events func(Event), log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.withDefaults(), journal: journal, log: log, clock: steadyClock(), onEvent: events}
	if events != nil {
		s.events = make(chan Event, 1024)
	}
	s.engine = newEngine(s.cfg, oracle, &s.stats, events != nil)
	s.pending = newPending()
	var records []Record
	err := journal.Load(ctx, func(r Record) error {
		if !r.Addr.Is4() {
			return fmt.Errorf("lease of %v: not an IPv4 address", r.Addr)
		}
		records = append(records, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dhcp: load leases: %w", err)
	}
	s.engine.restore(records, s.clock())
	return s, nil
}

// steadyClock tells the wall clock's time as of now, advanced by the monotonic
// clock: a step of the wall clock while we run ends no lease early.
func steadyClock() func() time.Time {
	start := time.Now()
	wall := start.Round(0)
	return func() time.Time { return wall.Add(time.Since(start)) }
}

// Serve answers until ctx ends, and then returns nil; or until the interface is
// gone, or another of its name has come, or a socket fails. What was acknowledged is durable however it ends. It
// may be called again after it has returned, for an interface that came back.
func (s *Server) Serve(ctx context.Context) error {
	socks, err := openSockets(s.cfg)
	if err != nil {
		return err
	}
	defer socks.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("dhcp: eventfd: %w", err)
	}
	defer unix.Close(wake)
	s.pending.open()

	var wg sync.WaitGroup
	wg.Go(func() { s.commitLoop(ctx, socks, stop) })
	if s.onEvent != nil {
		wg.Go(func() { s.eventLoop(ctx) })
	}
	wg.Go(func() {
		if err := socks.device.Watch(ctx); err != nil {
			stop(fmt.Errorf("dhcp: %w", err))
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		s.pending.close()
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	s.log.Info("dhcp: serving", "interface", s.cfg.Interface, "addr", s.cfg.Addr, "subnets", len(s.cfg.Subnets), "leases", s.leased(), "proxy", s.cfg.Proxy)
	stop(s.loop(ctx, socks, wake))
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// loop takes packets and answers them, requests first.
func (s *Server) loop(ctx context.Context, socks *sockets, wake int) error {
	in, few := newInbox(batch), newInbox(discoverBatch)
	const most = 3 * batch // a batch of each socket
	out := newOutbox(most, most*replySize)
	fds := []unix.PollFd{{Fd: int32(socks.requests), Events: unix.POLLIN}, {Fd: int32(socks.discovers), Events: unix.POLLIN},
		{Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(socks.boot), Events: unix.POLLIN}}
	var last time.Time
	for ctx.Err() == nil {
		n, err := s.take(socks.requests, in, out, (*engine).handle)
		if err != nil {
			return err
		}
		// While requests fill whole batches, discovers wait.
		m := 0
		if n < batch {
			if m, err = s.take(socks.discovers, few, out, (*engine).handle); err != nil {
				return err
			}
		}
		if err := s.flush(out, socks, socks.requests); err != nil {
			return err
		}
		if socks.boot >= 0 {
			k, err := s.take(socks.boot, in, out, (*engine).handleBoot)
			if err != nil {
				return err
			}
			if err := s.flush(out, socks, socks.boot); err != nil {
				return err
			}
			n += k
		}
		switch {
		case n+m >= discoverBatch:
			last = time.Now()
		case n+m > 0:
			if now := time.Now(); now.Sub(last) < busyGap {
				time.Sleep(nap)
			}
			last = time.Now()
		default:
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("dhcp: poll: %w", err)
			}
		}
	}
	return nil
}

type handler func(e *engine, packet []byte, src netip.AddrPort, now time.Time, out []byte, d *decision)

// take handles one batch of a socket.
func (s *Server) take(fd int, in *inbox, out *outbox, handle handler) (int, error) {
	n, err := in.receive(fd)
	if n == 0 {
		return 0, err
	}
	if !s.pending.room(n) {
		return 0, nil // closed: the server is stopping
	}
	now := s.clock()
	var d decision
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		packet, src := in.packet(i)
		handle(s.engine, packet, src, now, out.slot(), &d)
		if d.nrecords > 0 {
			s.pending.add(&d, out.slot())
			continue
		}
		if d.n > 0 {
			out.add(d.n, d.dest)
		}
		s.emit(&d.event)
	}
	return n, nil
}

// flush sends what the loop need not wait for, from the socket that was asked:
// who asked the boot server's port hears nothing from another (iPXE, dhcp_proxy_rx).
func (s *Server) flush(out *outbox, socks *sockets, udp int) error {
	s.pending.ready()
	if out.n == 0 {
		return nil
	}
	unsent, err := out.flush(socks, udp, s.engine.id, s.cfg.Port)
	s.stats.Unsent.Add(uint64(unsent))
	return err
}

// emit hands an event on, or counts it as lost.
func (s *Server) emit(ev *Event) {
	if ev.Kind == 0 || s.events == nil {
		return
	}
	select {
	case s.events <- *ev:
	default:
		s.stats.LostEvent.Add(1)
	}
}

func (s *Server) eventLoop(ctx context.Context) {
	for {
		select {
		case ev := <-s.events:
			s.onEvent(ev)
		case <-ctx.Done():
			return
		}
	}
}
