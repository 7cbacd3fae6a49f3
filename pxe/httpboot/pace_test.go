package httpboot

import (
	"net/netip"
	"testing"
	"time"
)

// TestPace: a client has its burst at once, then its rate; another client is
// not held back by it.
func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := NewPace(5, 20, func() time.Time { return now })
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for p.slot(a) == p.slot(b) {
		b = b.Next()
	}
	count := func(who netip.Addr) (n int) {
		for p.Allow(who) {
			n++
		}
		return n
	}
	if n := count(a); n != 20 {
		t.Errorf("%d at once, want 20", n)
	}
	if n := count(b); n != 20 {
		t.Errorf("another client had %d, want 20", n)
	}
	now = now.Add(time.Second)
	if n := count(a); n != 5 {
		t.Errorf("%d after a second, want 5", n)
	}
	now = now.Add(time.Hour)
	if n := count(a); n != 20 {
		t.Errorf("%d after an hour, want 20", n)
	}
}
