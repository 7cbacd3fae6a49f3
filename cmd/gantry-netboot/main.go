// Gantry-netboot is the first process of a machine that Gantry network-booted,
// and the agent that it supervises. The kernel starts it as /init; it starts
// itself again as the agent; the kernel's request_module starts it as
// /sbin/modprobe.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gantry-pod/gantry/netboot/agent"
	"github.com/gantry-pod/gantry/netboot/modules"
	"github.com/gantry-pod/gantry/netboot/pid1"
)

// version is set by the linker.
var version = "dev"

const (
	self        = "/init"
	agentName   = "gantry-agent"
	sessionFile = "/run/gantry-session"
	tellWithin  = 20 * time.Second
	rebootAfter = 30 * time.Second
)

func main() {
	var err error
	switch {
	case filepath.Base(os.Args[0]) == "modprobe":
		err = modprobe(os.Args[1:])
	case os.Args[0] == agentName:
		err = runAgent(context.Background())
	case os.Getpid() == 1:
		err = first(context.Background())
	default:
		err = errors.New("this program is a machine's first process: it runs in Gantry's netboot system only")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gantry-netboot:", err)
		os.Exit(1)
	}
}

// first is PID 1. What fails before the agent runs ends like an agent that
// failed: in a restart.
func first(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := pid1.MountEarly(); err != nil {
		log.Error("mounting failed; going on", "err", err)
	}
	// The archive has no modprobe: while the kernel starts it would be run a dozen
	// times, for modules that nobody has, a tenth of a second each in QEMU.
	if err := os.Symlink(self, "/sbin/modprobe"); err != nil {
		log.Error("the kernel cannot ask for modules; going on", "err", err)
	}
	return pid1.Run(ctx, pid1.Config{
		Agent: self, AgentName: agentName, Console: os.Stderr, Tell: tell,
		TellWithin: tellWithin, RebootAfter: rebootAfter, Log: log,
	})
}

func params() (agent.Params, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return agent.Params{}, err
	}
	return agent.ParseParams(string(b))
}

func tell(ctx context.Context, lastWords []byte) error {
	p, err := params()
	if err != nil {
		return err
	}
	return agent.LastWords(ctx, sessionFile, p, lastWords, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

func runAgent(ctx context.Context) error {
	p, err := params()
	if err != nil {
		return err
	}
	return agent.Run(ctx, agent.Config{Params: p, Version: version, Console: os.Stderr, SessionFile: sessionFile})
}

func modprobe(args []string) error {
	l, err := modules.Open(os.DirFS("/"), modules.Insert)
	if err != nil {
		return err
	}
	return pid1.Modprobe(args, l.Load, l.Match)
}
