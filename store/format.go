package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// format is the version of the layout of keys and rows that a program writes,
// and the steps by which it brings older stores up to it. Formats only rise.
type format struct {
	version int
	// steps[v] brings a store of format v to v+1. It must leave the same store
	// however often it is begun and cut short, for a crash has it run again.
	steps map[int]func(context.Context, Engine) error
}

// currentFormat is the format of this program. 1 is the first.
func currentFormat() format { return format{version: 1} }

type formatRecord struct {
	Format int `json:"format"`
}

// errForeign says that an engine holds keys, but not a store's.
var errForeign = errors.New("it is not empty and holds no store")

// check refuses a store of another format, and marks an empty engine.
func (f format) check(ctx context.Context, e Engine) error {
	found, err := readFormat(ctx, e)
	switch {
	case err != nil:
		return fmt.Errorf("store: open: read the format: %w", err)
	case found == 0:
		return f.write(ctx, e, f.version)
	case found > f.version:
		return fmt.Errorf("store: open: the store is of format %d, this program knows up to %d: %w", found, f.version, ErrNewer)
	case found < f.version:
		return fmt.Errorf("store: open: the store is of format %d, this program writes %d and must be told to upgrade it: %w", found, f.version, ErrOlder)
	}
	return nil
}

// readFormat gives the store's format, or 0 for an engine without a key.
func readFormat(ctx context.Context, e Engine) (version int, err error) {
	err = e.View(ctx, func(kv Txn) error {
		b, err := kv.Get(formatKey())
		if err == nil {
			var rec formatRecord
			err = json.Unmarshal(b, &rec)
			version = rec.Format
			if err == nil && version < 1 {
				err = fmt.Errorf("format %d is not positive", version)
			}
			return err
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		empty := true
		err = kv.Scan(nil, nil, false, func(_, _ []byte) bool { empty = false; return false })
		if err == nil && !empty {
			err = errForeign
		}
		return err
	})
	return version, err
}

func (f format) write(ctx context.Context, e Engine, version int) error {
	err := e.Update(ctx, func(kv Txn) error { return setJSON(kv, formatKey(), formatRecord{Format: version}) })
	if err != nil {
		return fmt.Errorf("store: write format %d: %w", version, err)
	}
	return nil
}

// Upgrade brings the store in e to this program's format, after which older
// programs refuse it. It is a step of its own, not part of Open, so that whoever
// runs it can take a backup first. It may be cut short at any moment and run
// again. A store that is up to date or empty is left as it is. e must not be
// open as a DB, and stays the caller's.
func Upgrade(ctx context.Context, e Engine, log *slog.Logger) error {
	return currentFormat().upgrade(ctx, e, log)
}

func (f format) upgrade(ctx context.Context, e Engine, log *slog.Logger) error {
	found, err := readFormat(ctx, e)
	if err != nil {
		return fmt.Errorf("store: upgrade: read the format: %w", err)
	}
	if found > f.version {
		return fmt.Errorf("store: upgrade: the store is of format %d, this program knows up to %d: %w", found, f.version, ErrNewer)
	}
	for v := found; v > 0 && v < f.version; v++ {
		step := f.steps[v]
		if step == nil {
			return fmt.Errorf("store: upgrade: no way from format %d to %d: %w", v, v+1, ErrOlder)
		}
		log.Info("upgrading store", "from_format", v, "to_format", v+1)
		if err := step(ctx, e); err != nil {
			return fmt.Errorf("store: upgrade from format %d to %d: %w", v, v+1, err)
		}
		if err := f.write(ctx, e, v+1); err != nil {
			return err
		}
	}
	return nil
}

func setJSON(kv Txn, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return kv.Set(key, b)
}
