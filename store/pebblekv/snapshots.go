package pebblekv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// snapshots keeps the state that Views see: that of the last completed sync.
type snapshots struct {
	mu      sync.Mutex
	current *snapshot // guarded by mu
}

// snapshot is a Pebble snapshot that its users share.
type snapshot struct {
	*pebble.Snapshot
	users int // guarded by snapshots.mu; being current counts as one
}

// publish makes s the state that Views see, and drops the one before it.
func (ss *snapshots) publish(s *pebble.Snapshot) {
	ss.mu.Lock()
	old := ss.current
	ss.current = &snapshot{Snapshot: s, users: 1}
	ss.mu.Unlock()
	if old != nil {
		ss.release(old)
	}
}

func (ss *snapshots) acquire() *snapshot {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.current.users++
	return ss.current
}

func (ss *snapshots) release(s *snapshot) {
	ss.mu.Lock()
	s.users--
	last := s.users == 0
	ss.mu.Unlock()
	if last {
		s.Close()
	}
}
