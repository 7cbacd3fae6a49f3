package pebblekv

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gantry-pod/gantry/store"
)

// commits is the group commit. A batch is applied at once, without a sync, and
// joins the open group. One goroutine takes the open group, writes an empty
// record to the log and syncs it; as the log is written in the order of
// application, that makes the group durable, and all before it. Batches that are
// applied meanwhile gather in the next group.
//
// Pebble could sync each batch itself, and would group those syncs as well. Doing
// it here buys one snapshot per sync, taken between two groups, which is exactly
// the durable state; see DESIGN.md.
type commits struct {
	db      *pebble.DB
	log     *slog.Logger
	publish func(*pebble.Snapshot) // called with the state that a sync made durable

	wake chan struct{} // holds a token while the open group has members
	done chan struct{} // closed when the syncing goroutine has ended

	// mu is held on every way into Pebble's commit pipeline, as a panic in
	// there leaves Pebble's own lock held: whoever came next would wait for ever.
	mu      sync.Mutex
	open    *group // guarded by mu: takes the next batch
	last    *group // guarded by mu: has the batch applied last
	failure error  // guarded by mu: why nothing can be committed any more
	stuck   bool   // guarded by mu: Pebble cannot be closed
}

// group is a set of batches that one sync makes durable.
type group struct {
	done chan struct{} // closed once the outcome is known
	err  error         // the outcome, set before done is closed
}

func newGroup() *group { return &group{done: make(chan struct{})} }

func (g *group) wait() error {
	<-g.done
	return g.err
}

func (g *group) finish(err error) {
	g.err = err
	close(g.done)
}

func (c *commits) start(db *pebble.DB, log *slog.Logger, publish func(*pebble.Snapshot)) {
	c.db, c.log, c.publish = db, log, publish
	c.wake, c.done = make(chan struct{}, 1), make(chan struct{})
	c.open, c.last = newGroup(), newGroup()
	c.last.finish(nil)
	go c.run()
}

// stop ends the syncing goroutine, once every group has been waited for. It
// returns why Pebble must not be closed, if that is so.
func (c *commits) stop() error {
	close(c.wake)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck {
		return c.failure
	}
	return nil
}

// apply makes batch visible to later Updates, and returns the group that it is in.
func (c *commits) apply(batch *pebble.Batch) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.enter(func() error { return c.db.Apply(batch, pebble.NoSync) })
	}
	c.last = c.open
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return c.last
}

// latest returns the group of the batch applied last: once it is durable, all
// that was ever applied is. A failed engine's open group has the failure.
func (c *commits) latest() *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.open
	}
	return c.last
}

// run syncs group after group until stop.
func (c *commits) run() {
	defer close(c.done)
	for range c.wake {
		g, snapshot, record := c.cut()
		if record == nil {
			continue
		}
		err := record.SyncWait()
		record.Close()
		if err != nil {
			snapshot.Close()
			c.fail(fmt.Errorf("sync of the log: %w", err))
			g.finish(fmt.Errorf("%w: sync of the log: %w", store.ErrFailed, err))
			continue
		}
		c.publish(snapshot)
		g.finish(nil)
	}
}

// cut closes the open group and begins its sync: once record is synced, the
// snapshot and all batches of g and before are durable. record is nil if there
// is nothing to sync, or no way to.
func (c *commits) cut() (g *group, snapshot *pebble.Snapshot, record *pebble.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil || c.last != c.open {
		return nil, nil, nil
	}
	record = c.db.NewBatch()
	snapshot = c.db.NewSnapshot()
	c.enter(func() error {
		if err := record.LogData(nil, nil); err != nil {
			return err
		}
		return c.db.ApplyNoSyncWait(record, pebble.Sync)
	})
	if c.failure != nil {
		return nil, nil, nil
	}
	g, c.open = c.open, newGroup()
	return g, snapshot, record
}

// enter runs fn, which goes into Pebble's commit pipeline, and takes whatever
// goes wrong there for the end. The caller holds mu.
func (c *commits) enter(fn func() error) {
	defer func() {
		if r := recover(); r != nil {
			c.stuck = true
			c.failLocked(fmt.Errorf("write to the log: %v", r))
		}
	}()
	if err := fn(); err != nil {
		c.failLocked(fmt.Errorf("write to the log: %w", err))
	}
}

func (c *commits) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(cause)
}

// failLocked stops the engine: the open group fails, and as it is never replaced
// so does every batch that is still to come.
func (c *commits) failLocked(cause error) {
	if c.failure != nil {
		return
	}
	c.log.Error("store has failed and takes no more writes", "error", cause.Error())
	c.failure = fmt.Errorf("%w: %w", store.ErrFailed, cause)
	c.open.finish(c.failure)
}
