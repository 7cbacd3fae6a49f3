package dhcp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxPending bounds the acknowledgements that wait for one commit: at full rate
// it bears a disk that halts for some tenths of a second. While it is full
// nothing more is taken from the sockets: the kernel's queues are the only
// others.
const maxPending = 8192

// group is what one commit makes true: records, the replies that may be sent
// then, and the events that may be told.
type group struct {
	records []Record
	out     *outbox
	events  []Event
}

func newGroup() *group { return &group{out: newOutbox(maxPending, maxPending*typicalReply)} }

// pending hands groups from the loop to the committer: while one is being
// synced, the next fills.
type pending struct {
	mu      sync.Mutex // guards what follows
	cond    sync.Cond
	next    *group
	packets int  // of next, with and without replies
	again   bool // a commit is to be tried though nothing came
	closed  bool
}

func newPending() *pending {
	p := &pending{next: newGroup()}
	p.cond.L = &p.mu
	return p
}

func (p *pending) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cond.Broadcast()
}

// room waits until n more packets have room; false means closed.
func (p *pending) room(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.packets+n > maxPending || !p.next.out.fits(n)) && !p.closed {
		p.cond.Wait()
	}
	return !p.closed
}

// add takes a decision that has records, and its reply.
func (p *pending) add(d *decision, reply []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets++
	p.next.records = append(p.next.records, d.records[:d.nrecords]...)
	if d.n > 0 {
		p.next.out.take(reply[:d.n], d.dest)
	}
	if d.event.Kind != 0 {
		p.next.events = append(p.next.events, d.event)
	}
}

// ready lets the committer know that there may be work.
func (p *pending) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.packets > 0 {
		p.cond.Broadcast()
	}
}

// retry has the committer come back though nobody asks.
func (p *pending) retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = true
	p.cond.Broadcast()
}

// swap waits for a group with records, or for retry, and returns the group, leaving
// spare to fill. After close it returns what is left, then nil.
func (p *pending) swap(spare *group) *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.packets == 0 && !p.again && !p.closed {
		p.cond.Wait()
	}
	if p.packets == 0 && !p.again {
		return nil
	}
	g := p.next
	p.next, p.packets, p.again = spare, 0, false
	p.cond.Broadcast()
	return g
}

// commitLoop makes groups durable and then sends their replies.
func (s *Server) commitLoop(ctx context.Context, socks *sockets, stop context.CancelCauseFunc) {
	spare := newGroup()
	again := time.AfterFunc(storeAgain, s.pending.retry)
	defer again.Stop()
	if len(s.owed) == 0 {
		again.Stop()
	}
	var last time.Time
	for {
		if wait := s.cfg.CommitInterval - time.Since(last); wait > 0 && ctx.Err() == nil {
			time.Sleep(wait)
		}
		g := s.pending.swap(spare)
		if g == nil {
			return
		}
		last = time.Now()
		// What was taken is finished even while stopping: a client's answer is
		// better than its retry.
		if err := s.store(context.WithoutCancel(ctx), g.records); err != nil {
			s.stats.Unsynced.Add(uint64(g.out.n))
			again.Reset(storeAgain)
		} else {
			s.stats.Commits.Add(1)
			s.finish(g, socks, stop)
		}
		g.records, g.events = g.records[:0], g.events[:0]
		g.out.empty()
		spare = g
	}
}

// storeAgain is how long after a failed commit the next is tried at the latest.
const storeAgain = time.Second

// maxOwed bounds the records that are kept for the next commit.
const maxOwed = 8 * maxPending

// store makes records durable, after those that could not be before: the table
// has changed by all of them, and no client repeats a DHCPDECLINE or DHCPRELEASE.
func (s *Server) store(ctx context.Context, records []Record) error {
	was := s.Healthy()
	if len(s.owed) > 0 {
		records = append(s.owed, records...)
	}
	err := s.journal.Commit(ctx, records)
	if err != nil {
		s.owed = append(s.owed[:0:0], records[max(0, len(records)-maxOwed):]...)
		err = fmt.Errorf("dhcp: leases cannot be stored, no acknowledgements are sent: %w", err)
		s.unhealthy.Store(&err)
		if was == nil {
			s.log.Error("dhcp: nobody gets a lease", "error", err)
		}
		return err
	}
	s.owed = nil
	s.unhealthy.Store(nil)
	if was != nil {
		s.log.Info("dhcp: leases are stored again")
	}
	return nil
}

// Healthy returns why no client is given a lease at the moment, or nil: the last
// commit failed. It is tried again with each request, and once a second.
func (s *Server) Healthy() error {
	if err := s.unhealthy.Load(); err != nil {
		return *err
	}
	return nil
}

// finish sends a durable group's replies and tells its events.
func (s *Server) finish(g *group, socks *sockets, stop context.CancelCauseFunc) {
	unsent, err := g.out.flush(socks, socks.requests, s.engine.id, s.cfg.Port)
	s.stats.Unsent.Add(uint64(unsent))
	if err != nil {
		stop(err)
	}
	for i := range g.events {
		s.emit(&g.events[i])
	}
}
