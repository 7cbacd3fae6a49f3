package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// defaultSocket is where an installed appliance listens.
const defaultSocket = "/run/gantry/appliance.sock"

// app is what every command shares: the streams and the global flags. It is
// filled in by the flags before a command runs and not changed afterwards.
type app struct {
	in       io.Reader
	out, err io.Writer

	socket string // the appliance's Unix socket
	server string // the appliance's URL; if set, used instead of socket
	output string // "table", "json" or "yaml"
}

// newApp returns an app on the given streams with the environment's defaults:
// GANTRY_SOCKET and GANTRY_SERVER.
func newApp(in io.Reader, out, err io.Writer) *app {
	a := &app{in: in, out: out, err: err, socket: defaultSocket, server: os.Getenv("GANTRY_SERVER")}
	if s := os.Getenv("GANTRY_SOCKET"); s != "" {
		a.socket = s
	}
	return a
}

// newRootCmd lists all commands of gantry.
func newRootCmd(app *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "gantry",
		Short:         "Turn racks of bare machines into a hosting service",
		Long:          "Gantry boots, images, powers and networks the machines of a pod.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return app.checkFlags()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&app.socket, "socket", app.socket, "the appliance's Unix socket (GANTRY_SOCKET)")
	flags.StringVar(&app.server, "server", app.server, "the appliance's URL, instead of its socket (GANTRY_SERVER)")
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
		newRequestCmd(app),
		newAlertCmd(app),
		newStatusCmd(app),
		newLabCmd(app),
	)
	refuseUnknown(root)
	return root
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
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(app.err, "gantry:", err)
	}
	return exitCode(ctx, err)
}
