package write

import (
	"context"
	"sync"
	"time"
)

// limiter spaces reads so that together they keep to a rate.
type limiter struct {
	rate int64 // bytes a second; 0 is no bound
	mu   sync.Mutex
	free time.Time // guarded by mu: when what was granted so far has been used up
}

// piece is how much to ask for at once: a tenth of a second's worth.
func (l *limiter) piece(n int) int {
	if l.rate <= 0 {
		return n
	}
	return min(n, int(max(l.rate/10, 512)))
}

// wait returns when n bytes that have arrived were due.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l.rate <= 0 || n == 0 {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	pause := l.free.Sub(now)
	l.mu.Unlock()
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
