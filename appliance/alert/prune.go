package alert

import (
	"context"
	"time"

	"github.com/gantry-pod/gantry/store"
)

// Prune forgets the alerts that were resolved before a time.
func (d *Desk) Prune(ctx context.Context, before time.Time) error {
	list, err := d.List(ctx, true)
	if err != nil {
		return err
	}
	for _, a := range list { // a resolved one never opens again
		if a.Resolved.IsZero() || !a.Resolved.Before(before) {
			continue
		}
		if err := d.db.Update(ctx, func(tx *store.Tx) error { return d.t.alerts.Delete(tx, store.K(a.ID)) }); err != nil {
			return err
		}
	}
	return nil
}
