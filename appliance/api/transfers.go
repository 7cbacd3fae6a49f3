package api

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Transfer is an image that is being read: imported or verified.
type Transfer struct {
	Image string `json:"image" doc:"NAME:VERSION"`
	Doing string `json:"doing" enum:"import,verify"`
	// Done and Total are bytes; Total is 0 if it is not known.
	Done  int64     `json:"done" doc:"bytes read"`
	Total int64     `json:"total,omitempty" doc:"bytes in all, if that is known"`
	Began time.Time `json:"began"`
}

// transfers are those that go on now. Its zero value has none.
type transfers struct {
	mu   sync.Mutex // guards list and what is in it
	list map[*Transfer]bool
}

// begin notes a transfer; progress is for the library, end for its end.
func (t *transfers) begin(image, doing string, now time.Time) (progress func(done, total int64), end func()) {
	tr := &Transfer{Image: image, Doing: doing, Began: now}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list == nil {
		t.list = map[*Transfer]bool{}
	}
	t.list[tr] = true
	progress = func(done, total int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		tr.Done, tr.Total = done, total
	}
	return progress, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.list, tr)
	}
}

// now returns those that go on, by the names of their images.
func (t *transfers) now() []Transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []Transfer{}
	for tr := range t.list {
		out = append(out, *tr)
	}
	slices.SortFunc(out, func(a, b Transfer) int { return strings.Compare(a.Image+a.Doing, b.Image+b.Doing) })
	return out
}
