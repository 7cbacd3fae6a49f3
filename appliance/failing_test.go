package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// fullDisk lets writes to the store's log fail once it is set.
type fullDisk struct{ atomic.Bool }

func (*fullDisk) String() string { return "full disk" }

// MaybeError implements errorfs.Injector.
func (f *fullDisk) MaybeError(op errorfs.Op) error {
	if f.Load() && filepath.Ext(op.Path) == ".log" && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		return fmt.Errorf("%s: no space left", op.Path)
	}
	return nil
}

// TestFailedStoreEndsTheAppliance: whoever of the appliance meets a store that
// has failed, transactions and leases alike, ends it; what else goes wrong does
// not.
func TestFailedStoreEndsTheAppliance(t *testing.T) {
	for name, use := range map[string]func(ctx context.Context, db *store.DB, desk *alert.Desk, leases store.Raw) error{
		"transaction": func(ctx context.Context, _ *store.DB, desk *alert.Desk, _ store.Raw) error {
			return desk.Raise(ctx, alert.Alert{Code: "c", Subject: "s"})
		},
		"leases": func(ctx context.Context, _ *store.DB, _ *alert.Desk, leases store.Raw) error {
			return leases.Commit(ctx, []store.RawOp{{Key: []byte("k"), Value: []byte("v")}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := &fullDisk{}
			opened, err := pebblekv.Open("store", pebblekv.Options{FS: errorfs.Wrap(vfs.NewMem(), disk)})
			if err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.DiscardHandler)
			engine, tables := watchEngine(opened), alert.NewTables()
			db, err := store.Open(t.Context(), engine, log, tables.Schemas()...)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close() // of a store that failed, this may say so
			raw, err := db.Raw("dhcp")
			if err != nil {
				t.Fatal(err)
			}
			refused := errors.New("refused")
			if err := db.Update(t.Context(), func(*store.Tx) error { return refused }); !errors.Is(err, refused) {
				t.Error(err)
			}
			select {
			case err := <-engine.failed:
				t.Fatalf("ends without a reason: %v", err)
			default:
			}
			disk.Store(true)
			err = use(t.Context(), db, alert.NewDesk(db, tables, nil, log, time.Now), raw)
			if !errors.Is(err, store.ErrFailed) {
				t.Fatalf("the store took it: %v", err)
			}
			select {
			case err := <-engine.failed:
				if !errors.Is(err, store.ErrFailed) {
					t.Error(err)
				}
			default:
				t.Error("nobody is told that the store has failed")
			}
		})
	}
}
