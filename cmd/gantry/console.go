package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/control"
)

func newMachineConsoleCmd(app *app) *cobra.Command {
	return &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "console MACHINE", Short: "Attach to a machine's serial console; leave with ~. after Enter", Args: exactArgs(1),
		Long: "Attach to a machine's serial console, as far as the pod knows it; leave with ~. after Enter.\n\n" +
			"A lab's appliance has the consoles of the lab's machines. On a real rack there is none yet: that\n" +
			"needs a driver for the machines' management controllers. The command is refused there (exit code 4).",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := app.machine(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			path, err := app.consoleOf(cmd.Context(), m)
			if err != nil {
				return err
			}
			return app.attach(cmd.Context(), m.ID, path)
		}}
}

// consoleOf finds the Unix socket of a machine's serial port: that of the lab
// which the appliance in use belongs to, told by its control socket beside the
// appliance's.
func (a *app) consoleOf(ctx context.Context, m api.Machine) (string, error) {
	none := withCode(exitRefused, fmt.Errorf("the pod knows no console of machine %s: that needs a driver for its management controller, and there is none yet\n"+
		"what to do: see what its agent says with: gantry machine logs -f %[1]s; or log in to it with: gantry machine rescue %[1]s", m.ID))
	if a.server != "" {
		return "", none
	}
	socket, err := filepath.Abs(a.socket)
	if err != nil {
		return "", err
	}
	status, err := control.NewClientAt(filepath.Join(filepath.Dir(socket), lab.ControlName)).Status(ctx)
	if errors.Is(err, control.ErrDown) {
		return "", none
	}
	if err != nil {
		return "", labError(err)
	}
	if status.Appliance == nil || status.Appliance.Socket != socket {
		return "", none
	}
	for _, known := range status.Machines {
		// The appliance may know it under another name than the lab.
		if slices.ContainsFunc(known.MACs, func(mac string) bool {
			return slices.ContainsFunc(m.MACs, func(other string) bool { return strings.EqualFold(mac, other) })
		}) {
			return known.Console, nil
		}
	}
	return "", none
}
