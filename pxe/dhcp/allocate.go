package dhcp

// tries bounds the addresses looked at for one allocation, beyond those that
// are looked at once and never again.
const tries = 32

// allocate returns an entry of a subnet's pools that nobody holds, or none. It
// prefers an address that was never used, then the one given back longest ago,
// then the one whose lease, offer or quarantine ended first. Where there is
// none it takes back the oldest offer that was made before offeredBefore
// (expressed as an offer's expiry), and at last the oldest quarantine: its
// address may be in use, which its new client will find out (RFC 2131, section
// 3.1, step 5), while a flood of DHCPDECLINE would otherwise empty the pool.
// It passes over addresses for which reserved is true.
func (t *table) allocate(subnet uint16, now, offeredBefore uint32, reserved func(addr uint32) bool) uint32 {
	s := &t.spaces[subnet]
	if i := t.untouched(subnet, reserved); i != none {
		return i
	}
	for range tries {
		i := s.oldest(t, now)
		if i == none {
			break
		}
		if t.usable(i, reserved) {
			return i
		}
		t.move(i, listParked)
	}
	// Reservations may have ended since their addresses were parked.
	for n := 0; n < tries && s.head[listParked] != none; n++ {
		i := s.head[listParked]
		if t.entries[i].expiry <= now && t.usable(i, reserved) {
			return i
		}
		t.move(i, listParked)
	}
	if i := s.head[listOffer]; i != none && t.entries[i].expiry < offeredBefore && t.usable(i, reserved) {
		return i
	}
	if i := s.head[listQuarantine]; i != none && t.usable(i, reserved) {
		return i
	}
	return none
}

// untouched returns the next entry of a subnet that was never given out. Its
// cursors only go forward, so that all calls together look at each entry once.
func (t *table) untouched(subnet uint16, reserved func(addr uint32) bool) uint32 {
	s := &t.spaces[subnet]
	for n := range s.pools {
		p := &s.pools[n]
		for p.fresh <= p.last-p.first {
			i, addr := p.base+p.fresh, p.first+p.fresh
			p.fresh++
			e := &t.entries[i]
			if e.list != listNone {
				continue
			}
			e.addr, e.subnet = addr, subnet
			if !reserved(addr) {
				// A caller that offers it puts it on a list at once; one that
				// does not finds it here again.
				t.move(i, listFree)
				return i
			}
			t.move(i, listParked)
		}
	}
	return none
}

// oldest returns the entry that may be given out for the longest time.
func (s *space) oldest(t *table, now uint32) uint32 {
	if i := s.head[listFree]; i != none {
		return i
	}
	best := uint32(none)
	for _, list := range [...]uint8{listOffer, listBoot, listLease, listLoaded, listQuarantine} {
		i := s.head[list]
		if i != none && t.entries[i].expiry <= now && (best == none || t.entries[i].expiry < t.entries[best].expiry) {
			best = i
		}
	}
	return best
}

// usable reports whether an entry is the pools' to give.
func (t *table) usable(i uint32, reserved func(addr uint32) bool) bool {
	e := &t.entries[i]
	return t.dynamic(e.subnet, e.addr) && !reserved(e.addr)
}
