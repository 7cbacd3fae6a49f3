package httpboot

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// limiter is a token bucket that clients take from in turn: while it is
// empty, each client that waits gets one piece before any gets a second, so a
// client gains nothing by opening more connections.
type limiter struct {
	rate    float64 // bytes a second
	quantum int     // bytes of a piece: some 10 ms of the rate

	mu     sync.Mutex // guards the rest
	tokens float64    // may be negative: then the last piece is being paid off
	filled time.Time
	queues map[netip.Addr][]*turn
	ring   []netip.Addr // clients that wait, in the order of their turns
	timer  *time.Timer  // runs while someone waits
}

// turn is one waiting writer.
type turn struct {
	n     int
	ready chan struct{} // closed when granted
}

func newLimiter(rate int64) *limiter {
	return &limiter{rate: float64(rate), quantum: int(min(max(rate/100, 4<<10), 256<<10)),
		filled: time.Now(), queues: map[netip.Addr][]*turn{}}
}

// wait returns when who may send n bytes, or with ctx's error.
func (l *limiter) wait(ctx context.Context, who netip.Addr, n int) error {
	t := &turn{n: n, ready: make(chan struct{})}
	l.mu.Lock()
	if len(l.queues[who]) == 0 {
		l.ring = append(l.ring, who)
	}
	l.queues[who] = append(l.queues[who], t)
	l.grant()
	l.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		l.forget(who, t)
		return ctx.Err()
	}
}

// grant gives turns while there are tokens, and sets the timer for the next.
// The caller holds mu.
func (l *limiter) grant() {
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.filled).Seconds()*l.rate, float64(l.quantum))
	l.filled = now
	for l.tokens > 0 && len(l.ring) > 0 {
		who := l.ring[0]
		l.ring = l.ring[1:]
		queue := l.queues[who]
		t := queue[0]
		if len(queue) > 1 {
			l.queues[who] = queue[1:]
			l.ring = append(l.ring, who)
		} else {
			delete(l.queues, who)
		}
		l.tokens -= float64(t.n)
		close(t.ready)
	}
	if len(l.ring) == 0 {
		return
	}
	due := time.Duration(-l.tokens/l.rate*float64(time.Second)) + time.Microsecond
	if l.timer == nil {
		l.timer = time.AfterFunc(due, l.onTimer)
	} else {
		l.timer.Reset(due)
	}
}

func (l *limiter) onTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grant()
}

// forget takes a turn back that nobody waits for any more.
func (l *limiter) forget(who netip.Addr, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queues[who]
	for i := range queue {
		if queue[i] == t {
			queue = append(queue[:i:i], queue[i+1:]...)
			break
		}
	}
	if len(queue) > 0 {
		l.queues[who] = queue
		return
	}
	delete(l.queues, who)
	for i := range l.ring {
		if l.ring[i] == who {
			l.ring = append(l.ring[:i:i], l.ring[i+1:]...)
			break
		}
	}
}
