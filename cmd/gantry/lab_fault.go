package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
)

// newLabFaultCmd breaks things: one command per fault, and clear.
func newLabFaultCmd(a *labApp) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Show what is broken in a lab, break more, or clear it all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := a.client().Status(cmd.Context())
			if err != nil {
				return labError(err)
			}
			return a.print(status.Faults, func(w io.Writer) error {
				var rows [][]string
				for _, f := range status.Faults {
					rows = append(rows, []string{string(f.Kind), f.Target, orDash(f.Value)})
				}
				return printTable(w, []string{"FAULT", "TARGET", "VALUE"}, rows)
			})
		},
	}
	cmd.AddCommand(
		newLabBreakCmd(a, lab.LossyWire, "MACHINE", "SHARE", "Lose a share of a machine's frames, such as 5%, each way"),
		newLabBreakCmd(a, lab.SlowDisk, "MACHINE", "SPEED", "Hold a machine's disks to a speed, such as 5MB/s"),
		newLabBreakCmd(a, lab.HungFirmware, "MACHINE", "", "Make a machine hang from its next power-on on"),
		newLabBreakCmd(a, lab.DeadOutlet, "OUTLET", "", "Make an outlet accept commands and never move"),
		newLabBreakCmd(a, lab.UnknownOutlet, "OUTLET", "", "Make an outlet read as neither on nor off"),
		&cobra.Command{
			Use:   "clear",
			Short: "Mend everything; a machine that hangs needs its power cut as well",
			Args:  usageArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.labDid(a.client().Mend(cmd.Context()), "mended", "lab", a.name)
			},
		},
	)
	return cmd
}

func newLabBreakCmd(a *labApp, kind lab.FaultKind, target, value, short string) *cobra.Command {
	use, n := fmt.Sprintf("%s %s", kind, target), 1
	if value != "" {
		use, n = use+" "+value, 2
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  usageArgs(cobra.ExactArgs(n)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := lab.Fault{Kind: kind, Target: args[0]}
			if len(args) > 1 {
				f.Value = args[1]
			}
			return a.labDid(a.client().Break(cmd.Context(), f), string(kind), strings.ToLower(target), f.Target)
		},
	}
	cmd.ValidArgsFunction = a.outletNumbers
	if target == "MACHINE" {
		cmd.ValidArgsFunction = a.machineNames
	}
	return cmd
}

func newLabPlugCmd(a *labApp, use string, plugged bool, short string) *cobra.Command {
	return &cobra.Command{
		Use:               use + " MACHINE",
		Short:             short,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: a.machineNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			what := "unplugged"
			if plugged {
				what = "plugged"
			}
			return a.labDid(a.client().SetPlugged(cmd.Context(), args[0], plugged), what, "machine", args[0])
		},
	}
}

func newLabKillCmd(a *labApp) *cobra.Command {
	return &cobra.Command{
		Use:               "kill MACHINE",
		Short:             "Kill a machine's QEMU and leave its power on",
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: a.machineNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.labDid(a.client().KillMachine(cmd.Context(), args[0]), "killed", "machine", args[0])
		},
	}
}

func newLabApplianceCmd(a *labApp) *cobra.Command {
	actions := []string{"start", "restart", "kill"}
	past := map[string]string{"start": "started", "restart": "restarted", "kill": "killed"}
	return &cobra.Command{
		Use:       "appliance start|restart|kill",
		Short:     "Start, restart or kill -9 the lab's appliance",
		Args:      usageArgs(cobra.ExactArgs(1)),
		ValidArgs: actions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(actions, args[0]) {
				return withCode(exitUsage, fmt.Errorf("%q: want one of %v", args[0], actions))
			}
			return a.labDid(a.client().Appliance(cmd.Context(), args[0]), past[args[0]], "appliance", a.name)
		},
	}
}
