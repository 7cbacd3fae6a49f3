package store

import (
	"slices"
	"sync"
)

// watchers are those who wait for tables to change.
type watchers struct {
	mu     sync.Mutex
	list   map[*watcher]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

type watcher struct {
	tables  []string
	changed chan struct{}
}

// Watch returns a channel that receives after each durable commit that wrote to
// one of tables, or to any table if none is named. Signals merge: one unread
// signal stands for all commits since. A View begun after the signal sees the
// change. The channel is closed by stop and by the store's Close; stop may be
// called more than once.
func (db *DB) Watch(tables ...string) (changed <-chan struct{}, stop func()) {
	w := &watcher{tables: slices.Clone(tables), changed: make(chan struct{}, 1)}
	db.watchers.add(w)
	return w.changed, func() { db.watchers.remove(w) }
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		close(w.changed)
		return
	}
	if ws.list == nil {
		ws.list = make(map[*watcher]struct{})
	}
	ws.list[w] = struct{}{}
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.list[w]; ok {
		delete(ws.list, w)
		close(w.changed)
	}
}

func (ws *watchers) notify(tables []string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.list {
		if w.wants(tables) {
			select {
			case w.changed <- struct{}{}:
			default: // a signal is waiting already
			}
		}
	}
}

func (w *watcher) wants(tables []string) bool {
	if len(w.tables) == 0 {
		return true
	}
	return slices.ContainsFunc(tables, func(t string) bool { return slices.Contains(w.tables, t) })
}

func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.list {
		close(w.changed)
	}
	ws.list = nil
}
