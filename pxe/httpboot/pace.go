package httpboot

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// paceSlots is how many buckets there are. Clients share one by chance, by a
// seed that nobody knows.
const paceSlots = 4096

// Pace bounds how often each client may ask for what costs a commit or a line
// in a log: a token bucket an IP address, in a fixed table that no flood can
// grow. It is safe for concurrent use.
type Pace struct {
	seed        maphash.Seed
	rate, burst float64 // tokens a second; at once
	now         func() time.Time

	mu    sync.Mutex // guards slots
	slots []paceSlot
}

type paceSlot struct {
	at   time.Time // when used was right
	used float64   // tokens missing from a full bucket
}

// NewPace allows each client burst calls at once and rate a second.
func NewPace(rate, burst float64, now func() time.Time) *Pace {
	return &Pace{seed: maphash.MakeSeed(), rate: rate, burst: burst, now: now, slots: make([]paceSlot, paceSlots)}
}

// Allow takes a token of a client's, if there is one.
func (p *Pace) Allow(client netip.Addr) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.slots[p.slot(client)]
	s.used = max(0, s.used-now.Sub(s.at).Seconds()*p.rate)
	s.at = now
	if s.used+1 > p.burst {
		return false
	}
	s.used++
	return true
}

func (p *Pace) slot(client netip.Addr) uint64 { return maphash.Comparable(p.seed, client) % paceSlots }
