package boot

import (
	"encoding/binary"
	"net"
	"testing"
	"time"
)

func TestSightings(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := NewSightings(func() time.Time { return now })
	if g, ok := s.Last(mac(1).String()); ok {
		t.Errorf("saw %+v before anything", g)
	}
	seen, stop := s.Watch(mac(1).String())
	s.Saw(mac(1), SawFirmware)
	s.Saw(mac(2), SawKernel)
	now = now.Add(time.Second)
	s.Saw(mac(1), SawLoader)
	for _, want := range []Sighting{{mac(1).String(), SawFirmware, now.Add(-time.Second)}, {mac(1).String(), SawLoader, now}} {
		if g := <-seen; g != want {
			t.Errorf("was told %+v, want %+v", g, want)
		}
	}
	if g, ok := s.Last(mac(1).String()); !ok || g.What != SawLoader {
		t.Errorf("last: %+v, %v", g, ok)
	}
	for range 1000 { // who does not read holds nobody up
		s.Saw(mac(1), SawScript)
	}
	stop()
	told := len(seen)
	s.Saw(mac(1), SawInitrd)
	if len(seen) != told {
		t.Error("was told after it stopped watching")
	}
}

// TestSightingsAreBounded: strangers' addresses do not fill the memory, and a
// machine that is being watched is still seen.
func TestSightingsAreBounded(t *testing.T) {
	s := NewSightings(time.Now)
	seen, stop := s.Watch(mac(1).String())
	defer stop()
	for i := range uint32(3 * maxSightings) {
		s.Saw(net.HardwareAddr(binary.BigEndian.AppendUint32([]byte{2, 0}, i)), SawFirmware)
	}
	if n := len(s.last); n > maxSightings {
		t.Errorf("%d sightings are kept", n)
	}
	s.Saw(mac(1), SawFirmware)
	if len(seen) != 1 {
		t.Error("the machine that is watched was not seen")
	}
}
