// Package host finds device drivers in a folder, launches each as a process of
// its own, keeps it alive, and makes its devices callable.
//
// What always holds: a driver that crashes, hangs, floods its log or lies
// costs its own devices only; every call ends by its deadline; a device has
// one change at a time; a driver gets no environment, no file and no secret
// but what a call carries, and run as a user of its own (Config.User) it can
// take none; no driver outlives its host.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// BinaryPrefix begins the file name of every driver; the rest is its name.
const BinaryPrefix = "gantry-driver-"

// maxRunDir keeps the path of a driver's Unix socket under the kernel's 108
// bytes: below RunDir come a folder and a file with random names.
const maxRunDir = 60

// Config is how a host runs drivers. Dir, RunDir and Log are required; a zero
// duration or number takes the default that is named beside it.
type Config struct {
	// Dir holds the driver binaries, gantry-driver-NAME. A file SHA256SUMS in
	// it, as sha256sum writes it, pins what may be run: a binary that it does
	// not list, or lists otherwise, is refused. Without that file each binary
	// is pinned as it was when the host started.
	Dir string
	// RunDir holds the drivers' sockets; at most 60 bytes long. It is created.
	RunDir string
	// User is whom drivers run as, by name or number: one with nothing of its
	// own. Empty means as the host does; another than its own needs root.
	User string
	Log  *slog.Logger

	CallTimeout    time.Duration // of a call whose context has no deadline: 20 s
	StartTimeout   time.Duration // for a driver to come up: 10 s
	HealthInterval time.Duration // between beats; three missed ones kill: 2 s
	Backoff        time.Duration // before the first restart, doubled each time: 200 ms
	MaxBackoff     time.Duration // 30 s
	// BreakAfter is after how many failures in a row a driver is given up for
	// Cooldown: 8, one minute. A driver that has run for a minute has recovered.
	BreakAfter int
	Cooldown   time.Duration
	// ParallelCalls is how many calls one device may have in flight: 4.
	ParallelCalls int
	// LogLines is how many lines a second a driver may log: 50, in bursts of
	// four times as many. What is more is counted and dropped.
	LogLines int
}

func (c Config) withDefaults() Config {
	setDefault(&c.CallTimeout, 20*time.Second)
	setDefault(&c.StartTimeout, 10*time.Second)
	setDefault(&c.HealthInterval, 2*time.Second)
	setDefault(&c.Backoff, 200*time.Millisecond)
	setDefault(&c.MaxBackoff, 30*time.Second)
	setDefault(&c.BreakAfter, 8)
	setDefault(&c.Cooldown, time.Minute)
	setDefault(&c.ParallelCalls, 4)
	setDefault(&c.LogLines, 50)
	return c
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Host runs the drivers of one folder. Its methods are safe for concurrent use.
type Host struct {
	cfg     Config
	drivers map[string]*driver // by name; fixed after New
	names   []string           // sorted
	devices *deviceTable

	stop  context.CancelFunc // ends Run
	ended chan struct{}      // closed when Run has returned

	mu      sync.Mutex // guards running
	running bool       // Run was called
	closed  <-chan struct{}
}

// New finds the drivers in cfg.Dir and pins them. It starts nothing. A driver
// that must not run does not fail New: it is listed as refused.
func New(cfg Config) (*Host, error) {
	cfg = cfg.withDefaults()
	if cfg.Log == nil {
		return nil, errors.New("plugin host: no logger given")
	}
	if err := prepareRunDir(cfg.RunDir); err != nil {
		return nil, fmt.Errorf("plugin host: %w", err)
	}
	as, err := lookUpUser(cfg.User)
	if err == nil && as != nil {
		err = letThrough(cfg.RunDir)
	}
	if err != nil {
		return nil, fmt.Errorf("plugin host: drivers' user %s: %w", cfg.User, err)
	}
	if as == nil && os.Geteuid() == 0 {
		cfg.Log.Warn("drivers run as root and can read every secret of this machine: set drivers.user")
	}
	paths, err := findBinaries(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("plugin host: find drivers: %w", err)
	}
	pins, err := readPins(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("plugin host: %w", err)
	}
	h := &Host{cfg: cfg, drivers: map[string]*driver{}, devices: newDeviceTable(cfg.ParallelCalls), ended: make(chan struct{})}
	closing, stop := context.WithCancel(context.Background())
	h.stop, h.closed = stop, closing.Done()
	for _, path := range paths {
		name := strings.TrimPrefix(filepath.Base(path), BinaryPrefix)
		h.drivers[name] = newDriver(cfg, as, name, path, pins)
		h.names = append(h.names, name)
	}
	return h, nil
}

func prepareRunDir(dir string) error {
	if dir == "" || !filepath.IsAbs(dir) {
		return fmt.Errorf("run folder %q: an absolute path is needed", dir)
	}
	if len(dir) > maxRunDir {
		return fmt.Errorf("run folder %s: longer than %d bytes, a driver's socket would not fit", dir, maxRunDir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	// A killed host leaves its sockets behind.
	stale, err := filepath.Glob(filepath.Join(dir, "plugin-dir*"))
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	for _, s := range stale {
		if err := os.RemoveAll(s); err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
	}
	return nil
}

// findBinaries returns the drivers' paths in order of name.
func findBinaries(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(e.Name(), BinaryPrefix) {
			continue
		}
		// One that cannot be looked at is refused later, with the reason.
		if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// Run launches all drivers and keeps them alive until ctx ends or Close is
// called. It returns once every driver process is gone. Call it once.
func (h *Host) Run(ctx context.Context) error {
	h.mu.Lock()
	h.running = true
	h.mu.Unlock()
	defer close(h.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		select {
		case <-h.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	for _, d := range h.drivers {
		all.Go(func() { d.supervise(ctx) })
	}
	all.Wait()
	return nil
}

// Close stops all drivers and waits until they are gone.
func (h *Host) Close() error {
	h.stop()
	h.mu.Lock()
	running := h.running
	h.mu.Unlock()
	if running {
		<-h.ended
	}
	return nil
}

// DriverStatus is how a driver does.
type DriverStatus struct {
	Name    string
	Version string   // as it told; empty until it first ran
	Kinds   []string // as it told
	State   DriverState
	// Restarts counts its launches after the first.
	Restarts int
	// LastError is why it last failed or was refused; empty if it never was.
	LastError string
	// PID is its process ID, 0 while it has none.
	PID int
}

// Drivers returns the status of every driver found, by name.
func (h *Host) Drivers() []DriverStatus {
	all := make([]DriverStatus, 0, len(h.names))
	for _, name := range h.names {
		all = append(all, h.drivers[name].status())
	}
	return all
}
