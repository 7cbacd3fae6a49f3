// Package pid1 is the netboot system's first process: it mounts what Linux
// programs expect, starts the agent as its child, collects dead processes, and
// makes sure that no failure leaves a dead machine behind. It never exits.
//
// The agent is a process of its own so that a panic in it, in whatever
// goroutine, kills the agent and not the machine: the first process then tells
// the appliance what happened and restarts the machine, which network-boots
// again.
package pid1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what to supervise.
type Config struct {
	// Agent is the agent's program, and AgentName the name that it is started
	// under (its argument 0).
	Agent, AgentName string
	// Console takes a copy of all that the agent writes.
	Console io.Writer
	// Tell gives the appliance the last words of an agent that failed; it gets at
	// most TellWithin.
	Tell       func(ctx context.Context, lastWords []byte) error
	TellWithin time.Duration
	// RebootAfter is how long people can read the console before the restart.
	RebootAfter time.Duration
	Log         *slog.Logger
}

// tailBytes of what the agent wrote last are kept for Tell.
const tailBytes = 64 << 10

// Run starts the agent, obeys reboot(8) and poweroff(8), and does not return, except with an error if restarting
// the machine failed too.
func Run(ctx context.Context, c Config) error {
	obey(ctx, c, Restart, PowerOff)
	tail := &tail{max: tailBytes}
	reason := supervise(c, io.MultiWriter(c.Console, tail))
	c.Log.Error("the agent ended; the machine restarts", "reason", reason, "in", c.RebootAfter)
	fmt.Fprintf(tail, "gantry-netboot: the agent ended: %v\n", reason)
	restart := time.Now().Add(c.RebootAfter)
	tctx, cancel := context.WithTimeout(ctx, c.TellWithin)
	defer cancel()
	if err := c.Tell(tctx, tail.bytes()); err != nil {
		c.Log.Error("could not tell the appliance", "err", err)
	}
	time.Sleep(time.Until(restart))
	return Restart()
}

// supervise runs the agent to its end and says how it ended.
func supervise(c Config, out io.Writer) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	proc, err := os.StartProcess(c.Agent, []string{c.AgentName}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(out, r)
	}()
	status := reap(proc.Pid)
	select {
	case <-copied:
	case <-time.After(time.Second): // a grandchild holds the pipe
	}
	return describe(status)
}

// reap collects every dead process until pid is among them. This process has no
// other children whose end someone waits for.
func reap(pid int) unix.WaitStatus {
	for {
		var s unix.WaitStatus
		p, err := unix.Wait4(-1, &s, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || p == pid {
			return s
		}
	}
}

func describe(s unix.WaitStatus) error {
	switch {
	case s.Signaled():
		return fmt.Errorf("killed by %v", s.Signal())
	default:
		return fmt.Errorf("exit status %d", s.ExitStatus())
	}
}

// Restart flushes, detaches file systems and restarts the machine, warm. It
// returns only if the kernel refuses.
func Restart() error { return end(unix.LINUX_REBOOT_CMD_RESTART) }

// PowerOff flushes, detaches file systems and switches the machine off.
func PowerOff() error { return end(unix.LINUX_REBOOT_CMD_POWER_OFF) }

func end(cmd int) error {
	unix.Sync()
	unmountAll()
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}

// Modprobe is what the kernel's request_module calls: it loads the module, or
// whatever has the alias, that the last argument names.
func Modprobe(args []string, load func(name string) error, match func(alias string) []string) error {
	if len(args) == 0 {
		return errors.New("modprobe: no module named")
	}
	name := args[len(args)-1]
	err := load(name)
	for _, m := range match(name) {
		err = load(m)
	}
	return err
}
