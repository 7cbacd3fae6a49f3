package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/lab/qmp"
)

// State is what a machine is doing.
type State string

// The states of a machine.
const (
	// Off: no feed is on.
	Off State = "off"
	// On: it has power and runs.
	On State = "on"
	// Hung: it has power, but its firmware never starts (a fault).
	Hung State = "hung"
	// Halted: it has power, but switched itself off.
	Halted State = "halted"
	// Failed: it has power, but QEMU died; Status.Reason says how.
	Failed State = "failed"
)

// Status is a machine's state at one moment.
type Status struct {
	State State `json:"state"`
	// Reason is set for Failed.
	Reason string `json:"reason,omitempty"`
	// PID is QEMU's process ID, 0 if there is none.
	PID int `json:"pid,omitempty"`
	// Since is when State began.
	Since time.Time `json:"since"`
	// PowerOns counts how often power came on, Resets how often the machine
	// reset itself since it last did.
	PowerOns int `json:"power_ons"`
	Resets   int `json:"resets"`
	// Unplugged says that its network cable is pulled.
	Unplugged bool `json:"unplugged,omitempty"`
	// DiskBytesPerSecond is the speed that each disk is held to; 0 is no bound.
	DiskBytesPerSecond int64 `json:"disk_bytes_per_second,omitempty"`
	// Hang says that the next power-on will end in [Hung].
	Hang bool `json:"hang,omitempty"`
}

// Host starts processes for machines, where their taps are.
type Host interface {
	// Start starts cmd such that it dies with the lab.
	Start(cmd *exec.Cmd) error
	// Ended is told of every process that Start started and that has been
	// waited for.
	Ended(cmd *exec.Cmd)
}

// Config is where and how machines run.
type Config struct {
	// Dir is the machine's own directory, for disks and logs.
	Dir string
	// SocketDir is where NAME.console and NAME.qmp appear; a short path, since a
	// socket's is bounded to 107 bytes (unix(7)).
	SocketDir string
	// Accel is what [ProbeAccel] found.
	Accel Accel
	Host  Host
	Log   *slog.Logger
}

// Machine is one emulated computer. Its methods may be called from any
// goroutine.
type Machine struct {
	spec    Spec
	cfg     Config
	console *Console
	logFile *os.File
	listen  net.Listener

	mu      sync.Mutex // guards what follows
	feeds   map[int]bool
	cuts    int // how often the last feed went off
	status  Status
	changed chan struct{} // closed and replaced when any of these changes
	qmp     *qmp.Conn     // of the running QEMU, once it has answered
	process *os.Process   // of the running QEMU
}

// New makes a machine with empty disks, or the disks that it had in cfg.Dir.
// It does nothing until [Machine.Run].
func New(spec Spec, cfg Config) (*Machine, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if err := prepare(spec, cfg.Dir); err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.Name, err)
	}
	logFile, err := os.OpenFile(filepath.Join(cfg.Dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.Name, err)
	}
	m := &Machine{
		spec: spec, cfg: cfg, logFile: logFile, console: newConsole(logFile),
		feeds: map[int]bool{}, changed: make(chan struct{}),
		status: Status{State: Off, Since: time.Now()},
	}
	m.cfg.Log = cfg.Log.With("machine", spec.Name)
	if m.listen, err = net.Listen("unix", m.ConsoleSocket()); err != nil {
		return nil, errors.Join(fmt.Errorf("machine %s: %w", spec.Name, err), logFile.Close())
	}
	return m, nil
}

// Spec returns what the machine is made of.
func (m *Machine) Spec() Spec { return m.spec }

// Console returns its serial port.
func (m *Machine) Console() *Console { return m.console }

// ConsoleSocket is the Unix socket where clients attach to the serial port.
func (m *Machine) ConsoleSocket() string {
	return filepath.Join(m.cfg.SocketDir, m.spec.Name+".console")
}

// QMPSocket is the Unix socket of a second QMP monitor, for people, while it is
// on.
func (m *Machine) QMPSocket() string {
	return filepath.Join(m.cfg.SocketDir, m.spec.Name+".qmp")
}

// DiskPath is the file that holds a disk's content.
func (m *Machine) DiskPath(disk int) string { return filepath.Join(m.cfg.Dir, diskFile(disk)) }

// Status returns what the machine is doing now.
func (m *Machine) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// Wait blocks until the machine's status satisfies ok, and returns it.
func (m *Machine) Wait(ctx context.Context, ok func(Status) bool) (Status, error) {
	for {
		m.mu.Lock()
		status, changed := m.status, m.changed
		m.mu.Unlock()
		if ok(status) {
			return status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status, fmt.Errorf("machine %s is %s: %w", m.spec.Name, status.State, ctx.Err())
		}
	}
}

// SetFeed switches the power of one of the machine's outlets. It returns at
// once; the machine follows within milliseconds.
func (m *Machine) SetFeed(outlet int, on bool) {
	m.update(func() {
		before := m.fed()
		m.feeds[outlet] = on
		if before && !m.fed() {
			m.cuts++
		}
	})
}

// Fed says for each outlet whether it gives power.
func (m *Machine) Fed() map[int]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.feeds)
}

// fed says whether there is power. It needs m.mu.
func (m *Machine) fed() bool {
	for _, on := range m.feeds {
		if on {
			return true
		}
	}
	return false
}

// Kill kills QEMU and leaves the power on: the machine is then [Failed]. One
// that does not run stays as it is.
func (m *Machine) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	if err := m.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill machine %s: %w", m.spec.Name, err)
	}
	return nil
}

// update changes guarded fields and wakes whoever waits for that.
func (m *Machine) update(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	close(m.changed)
	m.changed = make(chan struct{})
}

// enter changes the state. It needs m.mu.
func (m *Machine) enter(state State, reason string) {
	m.status.State, m.status.Reason, m.status.Since = state, reason, time.Now()
}
