package dhcp

import "iter"

// Stats returns the server's counters, which go on counting.
func (s *Server) Stats() *Stats { return &s.stats }

func (s *Server) leased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.table.leased
}

// Lease returns the newest lease of a client on any subnet, ended ones too.
func (s *Server) Lease(mac MAC) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.engine.table
	best := uint32(none)
	for id := range t.spaces {
		if i := t.of(clientOf(mac, uint16(id))); i != none && t.entries[i].list != listOffer &&
			(best == none || t.entries[i].expiry > t.entries[best].expiry) {
			best = i
		}
	}
	if best == none {
		return Lease{}, false
	}
	return t.lease(best)
}

// Leases returns what is leased, given back or declined, in the order of the
// pools. The server goes on meanwhile: it is not one moment's picture.
func (s *Server) Leases() iter.Seq[Lease] {
	const chunk = 4096
	return func(yield func(Lease) bool) {
		var found []Lease
		for from := 0; ; from += chunk {
			found = found[:0]
			s.mu.Lock()
			t := s.engine.table
			for i := from; i < min(from+chunk, len(t.entries)); i++ {
				if l, ok := t.lease(uint32(i)); ok {
					found = append(found, l)
				}
			}
			end := from+chunk >= len(t.entries)
			s.mu.Unlock()
			for _, l := range found {
				if !yield(l) {
					return
				}
			}
			if end {
				return
			}
		}
	}
}

// lease returns an entry as a lease, if it is one that outlives the server.
func (t *table) lease(i uint32) (Lease, bool) {
	e := &t.entries[i]
	l := Lease{Record: Record{Addr: addrOf(e.addr), MAC: e.client.mac(), Expiry: atSecond(e.expiry)}}
	switch e.list {
	case listBoot, listLease, listLoaded:
		l.State = Bound
	case listFree:
		l.State = Released
	case listQuarantine:
		l.State = Declined
	default:
		return Lease{}, false
	}
	if e.client == 0 && l.State != Declined {
		return Lease{}, false
	}
	l.Subnet = t.spaces[e.subnet].prefix
	l.Reserved = !t.dynamic(e.subnet, e.addr)
	return l, true
}
