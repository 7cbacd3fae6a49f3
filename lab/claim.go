package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab/proc"
	"github.com/gantry-pod/gantry/lab/wire"
)

// runRoot holds a directory for each lab, with its record and its sockets.
const runRoot = "/run/gantry-lab"

// ErrHeld is returned for a lab name that a running process holds.
var ErrHeld = errors.New("the lab is up")

// RunDir is where the lab of that name has its sockets while it is up.
func RunDir(name string) string { return filepath.Join(runRoot, name) }

// ControlName is the file name of a lab's control socket, beside that of its
// appliance.
const ControlName = "control.sock"

// ControlSocket is where a lab's supervisor listens, see package control.
func ControlSocket(name string) string { return filepath.Join(RunDir(name), ControlName) }

// record is what a lab writes down before it makes anything, so that another
// process can clean up after it.
type record struct {
	Name     string    `json:"name"`
	Holder   proc.ID   `json:"holder"`
	StateDir string    `json:"state_dir"`
	Began    time.Time `json:"began"`
}

// claim is the hold on a lab's name: a lock that ends with the process.
type claim struct {
	name string
	lock *os.File
}

// claimName takes the name, or returns [ErrHeld].
func claimName(name string) (*claim, error) {
	if err := os.MkdirAll(runRoot, 0o755); err != nil {
		return nil, fmt.Errorf("lab %s: %w: it needs root", name, err)
	}
	path := filepath.Join(runRoot, name+".lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lab %s: %w", name, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lab %s: %w", name, ErrHeld)
			}
			return nil, fmt.Errorf("lab %s: lock %s: %w", name, path, err)
		}
		// Its last holder may have removed the file before we locked it.
		if info, err := f.Stat(); err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0 {
			return &claim{name: name, lock: f}, nil
		}
		f.Close()
	}
}

// release gives the name back.
func (c *claim) release() error {
	return errors.Join(os.Remove(c.lock.Name()), c.lock.Close())
}

// begin writes the record.
func (c *claim) begin(stateDir string) error {
	self, err := proc.Of(os.Getpid())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.childDir(), 0o755); err != nil {
		return err
	}
	return writeJSON(c.recordPath(), record{Name: c.name, Holder: self, StateDir: stateDir, Began: time.Now().UTC()})
}

func (c *claim) recordPath() string { return filepath.Join(RunDir(c.name), "lab.json") }
func (c *claim) childDir() string   { return filepath.Join(RunDir(c.name), "children") }

func (c *claim) childPath(pid int) string {
	return filepath.Join(c.childDir(), strconv.Itoa(pid))
}

// started records a child, ended forgets it.
func (c *claim) started(pid int) error {
	id, err := proc.Of(pid)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	return writeJSON(c.childPath(pid), id)
}

func (c *claim) ended(pid int) { os.Remove(c.childPath(pid)) }

// readRecord returns the record of the lab of that name; [os.ErrNotExist] if it
// left none.
func readRecord(name string) (record, error) {
	var r record
	err := readJSON(filepath.Join(RunDir(name), "lab.json"), &r)
	return r, err
}

// sweep removes what a lab that was killed left behind: its children, by ID and
// start time, its namespaces and its run directory. It returns the state
// directory of that lab, which it leaves; "" if there was none.
func (c *claim) sweep(ctx context.Context) (stateDir string, err error) {
	left, err := readRecord(c.name)
	if errors.Is(err, os.ErrNotExist) {
		return "", os.RemoveAll(RunDir(c.name)) // killed before it made anything
	}
	if err != nil {
		return "", fmt.Errorf("lab %s: its record: %w", c.name, err)
	}
	errs := []error{c.stopChildren(ctx)}
	l2, app := wire.Names(c.name)
	errs = append(errs, wire.DeleteNamespace(ctx, app), wire.DeleteNamespace(ctx, l2))
	if err := errors.Join(errs...); err != nil {
		return left.StateDir, fmt.Errorf("lab %s: clean up: %w", c.name, err)
	}
	return left.StateDir, os.RemoveAll(RunDir(c.name))
}

// stopChildren kills the recorded children that still run. The kernel has
// killed them with their lab already, unless they were being started just then.
func (c *claim) stopChildren(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(c.childDir(), "*"))
	errs := []error{err}
	for _, file := range files {
		var child proc.ID
		if err := readJSON(file, &child); err != nil {
			continue // half written: the parent-death signal has it
		}
		errs = append(errs, child.Stop(ctx, 0))
	}
	return errors.Join(errs...)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
