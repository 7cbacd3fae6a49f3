package asset

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// bench is a registry on a real store, with a clock that the test moves.
type bench struct {
	*Registry
	t   *testing.T
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	e, err := pebblekv.Open(filepath.Join(dir, "store"), pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tables := NewTables()
	db, err := store.Open(t.Context(), e, slog.New(slog.DiscardHandler), tables.Schemas()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	vault, err := OpenVault(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, now: t0}
	pool := Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.12")}
	b.Registry = NewRegistry(db, tables, vault, pool, func() time.Time { return b.now })
	return b
}

// load imports a file and returns the import's error.
func (b *bench) load(file string) error {
	b.t.Helper()
	f, err := ParseFile([]byte(file))
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = b.Import(b.t.Context(), f)
	return err
}

func (b *bench) mustLoad(file string) {
	b.t.Helper()
	if err := b.load(file); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) machine(id string) Machine {
	b.t.Helper()
	m, err := b.Machine(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// names lists the machines that there are.
func (b *bench) names() (names []string) {
	b.t.Helper()
	list, err := b.Machines(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range list {
		names = append(names, m.ID)
	}
	return names
}

// set changes a machine as another package would.
func (b *bench) set(id string, fn func(m *Machine)) {
	b.t.Helper()
	err := b.Change(b.t.Context(), id, func(_ *store.Tx, m *Machine) error { fn(m); return nil })
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) wantErr(err, want error, why string) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Errorf("%s: %v, want %v", why, err, want)
	}
}

func inState(s machine.State) func(*Machine) {
	return func(m *Machine) { m.Status = machine.Status{State: s, Since: t0} }
}

func inspected(m *Machine) { m.Inventory = &job.Inventory{Memory: 1 << 30} }

// swapConfigs exchanges the sealed secrets of two PDUs in the store.
func (b *bench) swapConfigs(one, two string) error {
	return b.db.Update(b.t.Context(), func(tx *store.Tx) error {
		p, err := b.Registry.t.pdus.Get(tx, store.K(one))
		if err != nil {
			return err
		}
		q, err := b.Registry.t.pdus.Get(tx, store.K(two))
		if err != nil {
			return err
		}
		p.Config, q.Config = q.Config, p.Config
		return errors.Join(b.Registry.t.pdus.Put(tx, p), b.Registry.t.pdus.Put(tx, q))
	})
}
