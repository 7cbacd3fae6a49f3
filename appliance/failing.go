package appliance

import (
	"context"
	"errors"

	"github.com/gantry-pod/gantry/store"
)

// watchedEngine says once, through failed, that its engine has stopped for good:
// only a new process can open it again, so the appliance must end.
type watchedEngine struct {
	store.Engine
	failed chan error // has room for one
}

func watchEngine(e store.Engine) *watchedEngine {
	return &watchedEngine{Engine: e, failed: make(chan error, 1)}
}

// note passes err on, after a look at what it means.
func (w *watchedEngine) note(err error) error {
	if errors.Is(err, store.ErrFailed) {
		select {
		case w.failed <- err:
		default:
		}
	}
	return err
}

// Update implements store.Engine.
func (w *watchedEngine) Update(ctx context.Context, fn func(store.Txn) error) error {
	return w.note(w.Engine.Update(ctx, fn))
}

// View implements store.Engine.
func (w *watchedEngine) View(ctx context.Context, fn func(store.Txn) error) error {
	return w.note(w.Engine.View(ctx, fn))
}

// Commit implements store.Engine.
func (w *watchedEngine) Commit(ctx context.Context, prefix []byte, ops []store.RawOp) error {
	return w.note(w.Engine.Commit(ctx, prefix, ops))
}
