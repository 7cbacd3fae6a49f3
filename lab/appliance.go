package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/lab/proc"
)

// ErrNoAppliance is returned when the lab runs none.
var ErrNoAppliance = errors.New("this lab has no appliance")

// stopGrace is how long an appliance has to end by itself.
const stopGrace = 10 * time.Second

// ApplianceStatus is what the appliance's process is doing.
type ApplianceStatus struct {
	Binary string `json:"binary"`
	// PID is 0 when it does not run; Exit then says how it ended.
	PID    int    `json:"pid,omitempty"`
	Exit   string `json:"exit,omitempty"`
	Log    string `json:"log"`
	Config string `json:"config"`
	Socket string `json:"socket"`
}

// appliance supervises the appliance's process. It does not restart one that
// ends: a test that kills it says when it comes back.
type appliance struct {
	lab *Lab

	turn sync.Mutex // held over a whole start or stop

	mu   sync.Mutex // guards what follows
	id   proc.ID    // of the process that runs; zero if none does
	exit string
	done chan struct{} // closed when that process has ended
}

func newAppliance(l *Lab) *appliance { return &appliance{lab: l} }

// start starts the process unless it runs.
func (a *appliance) start() error {
	a.turn.Lock()
	defer a.turn.Unlock()
	return a.startLocked()
}

func (a *appliance) startLocked() error {
	if a.status().PID != 0 {
		return nil
	}
	log, err := os.OpenFile(a.lab.path("appliance.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(a.lab.cfg.Appliance, "--config", a.lab.ApplianceConfigPath())
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, a.lab.cfg.StateDir
	if err := a.lab.wire.App.Start(cmd); err != nil {
		return fmt.Errorf("start the appliance: %w", err)
	}
	id, err := proc.Of(cmd.Process.Pid)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		return err
	}
	if err := a.lab.claim.started(cmd.Process.Pid); err != nil {
		return err
	}
	done := make(chan struct{})
	a.mu.Lock()
	a.id, a.exit, a.done = id, "", done
	a.mu.Unlock()
	a.lab.life.Go(func() { a.await(cmd, done) })
	a.lab.cfg.Log.Info("appliance started", "pid", cmd.Process.Pid)
	return nil
}

// await notes the end of the process.
func (a *appliance) await(cmd *exec.Cmd, done chan<- struct{}) {
	_ = cmd.Wait() // ProcessState says how it ended
	a.lab.claim.ended(cmd.Process.Pid)
	a.lab.cfg.Log.Info("appliance ended", "pid", cmd.Process.Pid, "exit", cmd.ProcessState.String())
	a.mu.Lock()
	a.id, a.exit = proc.ID{}, cmd.ProcessState.String()
	a.mu.Unlock()
	close(done)
}

// stop ends the process, by force when grace is over.
func (a *appliance) stop(ctx context.Context) error {
	a.turn.Lock()
	defer a.turn.Unlock()
	return a.end(ctx, stopGrace)
}

// end ends the process and waits until that is noted. It needs a.turn.
func (a *appliance) end(ctx context.Context, grace time.Duration) error {
	a.mu.Lock()
	id, done := a.id, a.done
	a.mu.Unlock()
	if id == (proc.ID{}) {
		return nil
	}
	if err := id.Stop(ctx, grace); err != nil {
		return fmt.Errorf("stop the appliance: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the appliance: %w", ctx.Err())
	}
}

func (a *appliance) status() ApplianceStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ApplianceStatus{
		Binary: a.lab.cfg.Appliance, PID: a.id.PID, Exit: a.exit, Log: a.lab.path("appliance.log"),
		Config: a.lab.ApplianceConfigPath(), Socket: a.lab.ApplianceSocket(),
	}
}

// StartAppliance starts the appliance unless it runs.
func (l *Lab) StartAppliance() error {
	if l.appliance == nil {
		return ErrNoAppliance
	}
	return l.appliance.start()
}

// RestartAppliance asks the appliance to end, and starts it again.
func (l *Lab) RestartAppliance(ctx context.Context) error {
	if l.appliance == nil {
		return ErrNoAppliance
	}
	l.appliance.turn.Lock()
	defer l.appliance.turn.Unlock()
	if err := l.appliance.end(ctx, stopGrace); err != nil {
		return err
	}
	return l.appliance.startLocked()
}

// KillAppliance kills the appliance with SIGKILL, as a crash or a power cut of
// its computer would, and leaves it dead until [Lab.StartAppliance].
func (l *Lab) KillAppliance(ctx context.Context) error {
	if l.appliance == nil {
		return ErrNoAppliance
	}
	l.appliance.turn.Lock()
	defer l.appliance.turn.Unlock()
	return l.appliance.end(ctx, 0)
}
