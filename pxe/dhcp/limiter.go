package dhcp

import "hash/maphash"

// limiterSlots is how many token buckets there are. Clients share a bucket by
// chance, by a seed that nobody knows: under a flood of forged addresses a
// bucket gets its share of the flood, and the rate is chosen to bear that.
const limiterSlots = 1 << 16

// limiter bounds the packets of one client: a token bucket a slot, in a fixed
// table, so that no flood can grow it.
type limiter struct {
	seed        maphash.Seed
	slots       []bucket
	rate, burst uint32 // tokens a second; at once
}

type bucket struct {
	at   uint32 // milliseconds, when tokens was right
	used uint32 // thousandths of tokens missing from a full bucket
}

func newLimiter(rate, burst int) *limiter {
	return &limiter{seed: maphash.MakeSeed(), slots: make([]bucket, limiterSlots), rate: uint32(rate), burst: uint32(burst)}
}

// allow takes a token of a client's, if there is one. now is in milliseconds
// and may wrap around.
func (l *limiter) allow(mac MAC, now uint32) bool {
	b := &l.slots[maphash.Comparable(l.seed, mac)%limiterSlots]
	back := uint64(now-b.at) * uint64(l.rate)
	b.at = now
	if back >= uint64(b.used) {
		b.used = 0
	} else {
		b.used -= uint32(back)
	}
	if b.used+1000 > l.burst*1000 {
		return false
	}
	b.used += 1000
	return true
}
