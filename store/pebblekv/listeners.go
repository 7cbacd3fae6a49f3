package pebblekv

import "sync"

// listeners are those who are told of durable transactions.
type listeners struct {
	mu   sync.RWMutex
	next int
	fns  map[int]func([]string) // guarded by mu
}

func (ls *listeners) add(fn func(topics []string)) (stop func()) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.fns == nil {
		ls.fns = make(map[int]func([]string))
	}
	id := ls.next
	ls.next++
	ls.fns[id] = fn
	return func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		delete(ls.fns, id)
	}
}

// notify holds the lock while it calls, so that stop waits for calls under way.
func (ls *listeners) notify(topics []string) {
	if len(topics) == 0 {
		return
	}
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, fn := range ls.fns {
		fn(topics)
	}
}
