package boot

import (
	"net"
	"sync"
	"time"
)

// What can be seen of a machine before its agent speaks, in the order of a boot.
const (
	SawFirmware = "firmware" // its firmware asked for an address
	SawLoader   = "loader"   // it fetched, or is, iPXE
	SawScript   = "script"   // it fetched its boot script
	SawKernel   = "kernel"   // it fetched the agent's kernel
	SawInitrd   = "initrd"   // and its initramfs
)

// Sighting is something that a machine was seen to do.
type Sighting struct {
	MAC  string
	What string
	At   time.Time
}

// Sightings remembers the latest sighting of each machine and tells those who
// watch. It is safe for concurrent use.
type Sightings struct {
	now func() time.Time

	mu   sync.Mutex // guards both maps
	last map[string]Sighting
	subs map[chan Sighting]string
}

// maxSightings bounds the memory that strangers' MAC addresses can take.
const maxSightings = 65536

// NewSightings makes an empty Sightings.
func NewSightings(now func() time.Time) *Sightings {
	return &Sightings{now: now, last: map[string]Sighting{}, subs: map[chan Sighting]string{}}
}

// Saw notes that the NIC with this address was seen to do something.
func (s *Sightings) Saw(mac net.HardwareAddr, what string) {
	g := Sighting{MAC: mac.String(), What: what, At: s.now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.last[g.MAC]; !known && len(s.last) >= maxSightings {
		clear(s.last)
	}
	s.last[g.MAC] = g
	for c, mac := range s.subs {
		if mac == g.MAC {
			select {
			case c <- g:
			default: // it has enough to show
			}
		}
	}
}

// Last returns the latest sighting of a NIC.
func (s *Sightings) Last(mac string) (Sighting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.last[mac]
	return g, ok
}

// Watch returns the sightings of a NIC from now on.
func (s *Sightings) Watch(mac string) (seen <-chan Sighting, stop func()) {
	c := make(chan Sighting, 16)
	s.mu.Lock()
	s.subs[c] = mac
	s.mu.Unlock()
	return c, func() {
		s.mu.Lock()
		delete(s.subs, c)
		s.mu.Unlock()
	}
}
