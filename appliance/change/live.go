package change

import (
	"sync"
	"time"
)

// Progress is where a step stands at this moment; it is shown and not stored.
type Progress struct {
	Step    string `json:"step"`
	Phase   string `json:"phase,omitempty"`
	Message string `json:"message,omitempty"`
	// Done and Total are bytes.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Rate is bytes a second; Remaining is seconds.
	Rate      int64     `json:"rate,omitempty"`
	Remaining float64   `json:"remaining_seconds,omitempty"`
	At        time.Time `json:"at"`
}

// Live keeps the progress of requests in memory and tells those who watch. It
// is safe for concurrent use.
type Live struct {
	now func() time.Time

	mu   sync.Mutex // guards the maps
	last map[string]Progress
	subs map[chan struct{}]struct{}
}

// NewLive makes an empty Live.
func NewLive(now func() time.Time) *Live {
	return &Live{now: now, last: map[string]Progress{}, subs: map[chan struct{}]struct{}{}}
}

// Last returns the latest progress of a request.
func (l *Live) Last(request string) (Progress, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.last[request]
	return p, ok
}

// Watch signals, coalesced, after each change of any request's progress.
func (l *Live) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	l.mu.Lock()
	l.subs[c] = struct{}{}
	l.mu.Unlock()
	return c, func() {
		l.mu.Lock()
		delete(l.subs, c)
		l.mu.Unlock()
	}
}

func (l *Live) say(request string, p Progress) {
	p.At = l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[request] = p
	for c := range l.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (l *Live) forget(request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, request)
}
