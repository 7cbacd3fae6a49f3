package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/control"
)

// labApp is what the lab commands share.
type labApp struct {
	*app
	name string // the lab's
}

func (a *labApp) client() *control.Client { return control.NewClient(a.name) }

// newLabCmd is `gantry lab`: an emulated pod on this computer.
func newLabCmd(app *app) *cobra.Command {
	a := &labApp{app: app, name: "lab"}
	if name := os.Getenv("GANTRY_LAB"); name != "" {
		a.name = name
	}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "An emulated pod on this computer",
		Long: "An emulated pod on this computer: QEMU machines that live while their outlet\n" +
			"is on, a PDU that answers SNMP, and a network of their own. It needs root.",
	}
	cmd.PersistentFlags().StringVar(&a.name, "name", a.name, "the lab's name (GANTRY_LAB)")
	cmd.AddCommand(
		newLabUpCmd(a),
		newLabServeCmd(a),
		newLabDownCmd(a),
		newLabStatusCmd(a),
		newLabPowerCmd(a),
		newLabConsoleCmd(a),
		newLabPlugCmd(a, "plug", true, "Put a machine's network cables back"),
		newLabPlugCmd(a, "unplug", false, "Pull a machine's network cables"),
		newLabKillCmd(a),
		newLabFaultCmd(a),
		newLabApplianceCmd(a),
	)
	return cmd
}

// labError gives an error of a lab's its exit code and says what to do.
func labError(err error) error {
	switch {
	case errors.Is(err, control.ErrDown):
		return withCode(exitUnreachable, fmt.Errorf("%w; bring it up with: gantry lab up", err))
	case errors.Is(err, lab.ErrNotFound):
		return withCode(exitNotFound, fmt.Errorf("%w; see: gantry lab status", err))
	case errors.Is(err, lab.ErrBadFault):
		return withCode(exitUsage, err)
	case errors.Is(err, os.ErrPermission):
		return withCode(exitRefused, fmt.Errorf("%w: a lab is root's; use sudo", err))
	case errors.Is(err, lab.ErrHeld), errors.Is(err, lab.ErrNoAppliance):
		return withCode(exitRefused, err)
	}
	return err
}

// labDid says what a lab's command did, unless it failed.
func (a *labApp) labDid(err error, what, kind, target string) error {
	if err != nil {
		return labError(err)
	}
	return a.did(what, kind, target)
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return withCode(exitUsage, fmt.Errorf("%w\nusage: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// defaultStateDir is where a lab of that name keeps its files.
func defaultStateDir(name string) string { return filepath.Join("build", "lab", name) }

// outletNumbers completes an outlet's number on the command line.
func (a *labApp) outletNumbers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, err := a.client().Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var numbers []string
	for _, o := range status.Outlets {
		numbers = append(numbers, fmt.Sprintf("%d\t%s", o.Number, o.Machine))
	}
	return numbers, cobra.ShellCompDirectiveNoFileComp
}

// machineNames completes a machine's name on the command line.
func (a *labApp) machineNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, err := a.client().Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, m := range status.Machines {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
