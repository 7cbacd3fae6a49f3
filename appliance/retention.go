package appliance

import (
	"context"
	"time"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/change"
)

const (
	// keepSecrets is how long a failed request can be given again with the
	// secrets that it had.
	keepSecrets = 24 * time.Hour
	// forgetEvery is how often is looked for what is old.
	forgetEvery = time.Hour
)

// forgetting forgets requests that have ended and alerts that were resolved,
// when they are older than keep.
func forgetting(book *change.Book, desk *alert.Desk, keep time.Duration, now func() time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			at := now()
			if err := book.Prune(ctx, at.Add(-keepSecrets), at.Add(-keep)); err != nil {
				return err
			}
			if err := desk.Prune(ctx, at.Add(-keep)); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(forgetEvery):
			}
		}
	}
}
