package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
)

// newLabPowerCmd shows the PDU as a person in front of it sees it, and presses
// its buttons.
func newLabPowerCmd(a *labApp) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "power",
		Short: "Show the PDU's outlets; power on|off OUTLET presses a button on it",
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := a.client().Status(cmd.Context())
			if err != nil {
				return labError(err)
			}
			return a.print(status.Outlets, func(w io.Writer) error {
				return printTable(w, []string{"OUTLET", "POWER", "MACHINE"}, outletRows(status.Outlets))
			})
		},
	}
	cmd.AddCommand(newLabButtonCmd(a, "on", true), newLabButtonCmd(a, "off", false))
	return cmd
}

func newLabButtonCmd(a *labApp, use string, on bool) *cobra.Command {
	return &cobra.Command{
		Use:               use + " OUTLET",
		Short:             "Switch an outlet " + use + " by the PDU's button",
		ValidArgsFunction: a.outletNumbers,
		Args:              usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			if err != nil {
				return withCode(exitUsage, fmt.Errorf("outlet %q: want a number", args[0]))
			}
			return a.labDid(a.client().SetOutlet(cmd.Context(), number, on), use, "outlet", args[0])
		},
	}
}

func outletRows(outlets []lab.OutletStatus) (rows [][]string) {
	for _, o := range outlets {
		power := "off"
		if o.On {
			power = "on"
		}
		rows = append(rows, []string{strconv.Itoa(o.Number), power, orDash(o.Machine)})
	}
	return rows
}
