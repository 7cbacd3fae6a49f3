package pebblekv

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gantry-pod/gantry/store"
)

// Format is the version of Pebble's files that Open gives to a new store and
// Upgrade brings an old one to. It only ever rises.
const Format = pebble.FormatValueSeparation

const (
	defaultCacheBytes = 64 << 20
	memTableBytes     = 32 << 20
)

// Options are an engine's settings. The zero value is right for an appliance.
type Options struct {
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// CacheBytes is the size of the cache of blocks read, in bytes; 0 is 64 MiB.
	CacheBytes int64
	// Logger is told of trouble at Error and Warn, of Pebble's own work at
	// Debug. nil is silence.
	Logger *slog.Logger
}

// Open opens the store in dir, which it makes if it is not there. A store holds
// a lock on its directory: a second Open of it fails. One whose files are of a
// newer version than this program knows is refused with store.ErrNewer; one
// whose files are older is opened as it is, see [Upgrade].
func Open(dir string, opts Options) (*Engine, error) {
	e, err := open(dir, opts, 0)
	if err != nil {
		return nil, fmt.Errorf("pebblekv: open %s: %w", dir, err)
	}
	return e, nil
}

// Upgrade brings the files of the store in dir to [Format], after which older
// programs refuse them. The store must not be open. It may be cut short at any
// moment and run again.
func Upgrade(dir string, opts Options) error {
	e, err := open(dir, opts, Format)
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		return fmt.Errorf("pebblekv: upgrade %s: %w", dir, err)
	}
	return nil
}

// open opens dir and raises its format to at least format.
func open(dir string, opts Options, format pebble.FormatMajorVersion) (*Engine, error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.CacheBytes == 0 {
		opts.CacheBytes = defaultCacheBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	found, err := foundFormat(dir, opts.FS)
	if err != nil {
		return nil, err
	}
	if found == 0 {
		format = Format
	}
	e := newEngine(opts.Logger)
	db, err := pebble.Open(dir, e.pebbleOptions(opts, max(found, format)))
	if err != nil {
		return nil, err
	}
	e.start(db)
	return e, nil
}

func (e *Engine) pebbleOptions(opts Options, format pebble.FormatMajorVersion) *pebble.Options {
	po := &pebble.Options{
		FS:                 opts.FS,
		CacheSize:          opts.CacheBytes,
		FormatMajorVersion: format,
		Logger:             logger{e},
		MemTableSize:       memTableBytes,
	}
	po.EventListener = e.listener()
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if opts.FS == vfs.Default {
		po.WithFSDefaults() // reports a disk that takes too long
	}
	return po
}

var _ store.Engine = (*Engine)(nil)
