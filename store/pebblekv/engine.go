package pebblekv

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gantry-pod/gantry/store"
)

// Engine is an open store. Its methods may be called concurrently.
type Engine struct {
	log *slog.Logger
	db  *pebble.DB

	// writer holds a token while an Update runs its function.
	writer chan struct{}

	commits   commits
	snapshots snapshots
	listeners listeners

	life    sync.Mutex
	closed  bool           // guarded by life
	ops     sync.WaitGroup // what is under way; added to under life
	closing chan struct{}  // closed with closed
}

func newEngine(log *slog.Logger) *Engine {
	return &Engine{log: log, writer: make(chan struct{}, 1), closing: make(chan struct{})}
}

// start puts the engine to work on db. What Open replayed from the log it has
// also flushed and synced, so all that is there is durable.
func (e *Engine) start(db *pebble.DB) {
	e.db = db
	e.snapshots.publish(db.NewSnapshot())
	e.commits.start(db, e.log, e.snapshots.publish)
}

// Update implements [store.Engine]. A function that is slow holds up every other
// Update, but neither Views nor Commits.
func (e *Engine) Update(ctx context.Context, fn func(store.Txn) error) error {
	if err := e.begin(); err != nil {
		return err
	}
	defer e.ops.Done()
	if err := e.lockWriter(ctx); err != nil {
		return err
	}
	g, topics, err := e.runUpdate(ctx, fn)
	// Also a function that failed, or that wrote nothing, has drawn its
	// conclusions from transactions that may not be durable yet.
	if syncErr := g.wait(); syncErr != nil {
		return fmt.Errorf("pebblekv: update: %w", syncErr)
	}
	if err == nil {
		e.listeners.notify(topics)
	}
	return err
}

// runUpdate runs fn and applies what it wrote. It gives up the writer's token,
// and returns the group whose sync makes durable all that fn saw and wrote.
func (e *Engine) runUpdate(ctx context.Context, fn func(store.Txn) error) (g *group, topics []string, err error) {
	defer func() { <-e.writer }()
	batch := e.db.NewIndexedBatch()
	defer batch.Close()
	t := &txn{reader: batch, batch: batch}
	defer t.end()
	err = fn(t)
	t.end()
	if err == nil && !batch.Empty() {
		if err = context.Cause(ctx); err == nil {
			return e.commits.apply(batch), t.topics, nil
		}
	}
	return e.commits.latest(), nil, err
}

// View implements [store.Engine].
func (e *Engine) View(ctx context.Context, fn func(store.Txn) error) error {
	if err := e.begin(); err != nil {
		return err
	}
	defer e.ops.Done()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s := e.snapshots.acquire()
	defer e.snapshots.release(s)
	t := &txn{reader: s.Snapshot}
	defer t.end()
	return fn(t)
}

// Commit implements [store.Engine].
func (e *Engine) Commit(ctx context.Context, prefix []byte, ops []store.RawOp) error {
	if err := e.begin(); err != nil {
		return err
	}
	defer e.ops.Done()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if len(ops) == 0 {
		return nil
	}
	batch := e.db.NewBatch()
	defer batch.Close()
	for i := range ops {
		if err := addRaw(batch, prefix, &ops[i]); err != nil {
			return fmt.Errorf("pebblekv: commit: %w", err)
		}
	}
	if err := e.commits.apply(batch).wait(); err != nil {
		return fmt.Errorf("pebblekv: commit: %w", err)
	}
	return nil
}

// addRaw adds one write to batch, copying it once.
func addRaw(batch *pebble.Batch, prefix []byte, op *store.RawOp) error {
	var d *pebble.DeferredBatchOp
	if op.Delete {
		d = batch.DeleteDeferred(len(prefix) + len(op.Key))
	} else {
		d = batch.SetDeferred(len(prefix)+len(op.Key), len(op.Value))
		copy(d.Value, op.Value)
	}
	copy(d.Key[copy(d.Key, prefix):], op.Key)
	return d.Finish()
}

// Listen implements [store.Engine].
func (e *Engine) Listen(fn func(topics []string)) (stop func()) { return e.listeners.add(fn) }

// Close implements [store.Engine]. After a failed write inside Pebble the
// directory stays locked until the process ends, because goroutines of Pebble's
// may still hold its files: Close then says so.
func (e *Engine) Close() error {
	e.life.Lock()
	if e.closed {
		e.life.Unlock()
		e.ops.Wait()
		return nil
	}
	e.closed = true
	close(e.closing)
	e.life.Unlock()
	e.ops.Wait()
	if err := e.commits.stop(); err != nil {
		return fmt.Errorf("pebblekv: close: its files stay locked until the process ends: %w", err)
	}
	e.snapshots.publish(nil)
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("pebblekv: close: %w", err)
	}
	return nil
}

// begin counts an operation in, which the caller counts out with ops.Done.
func (e *Engine) begin() error {
	e.life.Lock()
	defer e.life.Unlock()
	if e.closed {
		return fmt.Errorf("pebblekv: %w", store.ErrClosed)
	}
	e.ops.Add(1)
	return nil
}

// lockWriter takes the writer's token.
func (e *Engine) lockWriter(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	select {
	case e.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.closing:
		return fmt.Errorf("pebblekv: %w", store.ErrClosed)
	}
}
