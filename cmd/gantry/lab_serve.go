package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/control"
)

// newLabServeCmd is the lab's supervisor, started by `gantry lab up`. It reads
// the lab's YAML on standard input and owns the lab until it is told to end.
func newLabServeCmd(a *labApp) *cobra.Command {
	return &cobra.Command{
		Use:    "serve",
		Short:  "Own a lab until told to end (internal)",
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := lab.DecodeConfig(a.in)
			if err != nil {
				return withCode(exitUsage, err)
			}
			cfg.Log = slog.New(slog.NewTextHandler(a.err, nil))
			return serveLab(cmd.Context(), cfg)
		},
	}
}

// serveLab brings a lab up, says so to whoever started it, and takes it down
// when ctx is done or a client says so.
func serveLab(ctx context.Context, cfg lab.Config) error {
	// No child may hold it open: whoever started us reads it to its end.
	syscall.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	defer ready.Close()
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		fmt.Fprint(ready, err)
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := l.Close(last); err != nil {
			cfg.Log.Error("the lab is not down cleanly", "error", err)
		}
	}()
	return control.Serve(ctx, l, func() {
		fmt.Fprint(ready, readyWord)
		ready.Close()
	})
}
