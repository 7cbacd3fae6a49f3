package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "dev"

// defaultSocket is where an installed appliance listens.
const defaultSocket = "/run/gantry/appliance.sock"

// app is what every command shares: the streams and the global flags. It is
// filled in by the flags before a command runs and not changed afterwards.
type app struct {
	in       io.Reader
	out, err io.Writer

	socket string // the appliance's Unix socket
	server string // the appliance's URL; if set, used instead of socket
	caFile string // certificates to trust for server, beside the system's
	output string // "table", "json" or "yaml"

	began bool // the command line made sense, and its command was called

	// The clock: now tells the time, and pause waits for d or the end of ctx.
	now   func() time.Time
	pause func(ctx context.Context, d time.Duration)
}

// newApp returns an app on the given streams with the environment's defaults:
// GANTRY_SOCKET, GANTRY_SERVER and GANTRY_CA.
func newApp(in io.Reader, out, err io.Writer) *app {
	a := &app{in: in, out: out, err: err, socket: defaultSocket, server: os.Getenv("GANTRY_SERVER"), caFile: os.Getenv("GANTRY_CA"),
		now: time.Now, pause: pause}
	if s := os.Getenv("GANTRY_SOCKET"); s != "" {
		a.socket = s
	}
	return a
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// newRootCmd lists all commands of gantry.
func newRootCmd(app *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "gantry",
		Short:         "Turn racks of bare machines into a hosting service",
		Long:          "Gantry boots, images, powers and networks the machines of a pod.\n\n" + serverHelp + "\n\n" + exitHelp,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return app.checkFlags()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&app.socket, "socket", app.socket, "the appliance's Unix socket (GANTRY_SOCKET)")
	flags.StringVar(&app.server, "server", app.server, "the appliance's URL, instead of its socket (GANTRY_SERVER)")
	flags.StringVar(&app.caFile, "ca-file", app.caFile, "PEM file of the authority that signed the URL's certificate (GANTRY_CA)")
	flags.StringVarP(&app.output, "output", "o", "table", "output: table, json or yaml")
	root.SetIn(app.in)
	root.SetOut(app.out)
	root.SetErr(app.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withCode(exitUsage, fmt.Errorf("%w\nsee %q", err, cmd.CommandPath()+" --help"))
	})

	root.AddCommand(
		newMachineCmd(app),
		newImageCmd(app),
		newPDUCmd(app),
		newDriverCmd(app),
		newRequestCmd(app),
		newAlertCmd(app),
		newStatusCmd(app),
		newLabCmd(app),
	)
	refuseUnknown(root)
	root.InitDefaultCompletionCmd() // so that it is finished as all others are
	app.finish(root)
	return root
}

// finish notes when a command's own code is called: an error before that is one
// of the command line. It completes the values of flags wherever there are any.
func (a *app) finish(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.finish(sub)
	}
	a.completeFlags(cmd)
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return do(cmd, args)
		}
	}
}

// refuseUnknown makes an unknown subcommand a usage error everywhere; cobra
// alone prints the help and succeeds, which a script would take for done.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if !cmd.HasSubCommands() || cmd.Args != nil {
		return
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		message := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return withCode(exitUsage, errors.New(message))
	}
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

// checkFlags refuses global flags that make no sense.
func (a *app) checkFlags() error {
	switch a.output {
	case "table", "json", "yaml":
		return nil
	}
	return withCode(exitUsage, fmt.Errorf("--output %q: want table, json or yaml", a.output))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, app *app, args []string) int {
	root := newRootCmd(app)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var coded *codedError
	if err != nil && !app.began && !errors.As(err, &coded) {
		err = withCode(exitUsage, fmt.Errorf("%w\nusage: %s", err, cmd.UseLine()))
	}
	if err != nil {
		fmt.Fprintln(app.err, "gantry:", err)
	}
	return exitCode(ctx, err)
}
