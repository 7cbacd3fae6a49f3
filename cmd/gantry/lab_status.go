package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/machine"
)

func newLabStatusCmd(a *labApp) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show a lab's machines, appliance, forwards and faults",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := a.client().Status(cmd.Context())
			if err != nil {
				return labError(err)
			}
			return a.printStatus(status)
		},
	}
}

func (a *labApp) printStatus(s lab.Status) error {
	return a.print(s, func(w io.Writer) error {
		fmt.Fprintf(w, "lab %s, up for %v, %s, files in %s\n", s.Name, time.Since(s.Began).Round(time.Second), s.Accel, s.StateDir)
		fmt.Fprintf(w, "network: ip netns exec %s|%s\n", s.WireNetns, s.ApplianceNetns)
		if s.Appliance != nil {
			fmt.Fprintf(w, "appliance: %s, log %s\n", applianceState(*s.Appliance), s.Appliance.Log)
		}
		for _, f := range s.Forwards {
			fmt.Fprintf(w, "forward: %s to %s\n", f.Listen, f.To)
		}
		for _, f := range s.Faults {
			fmt.Fprintf(w, "fault: %s %s %s\n", f.Kind, f.Target, f.Value)
		}
		fmt.Fprintln(w)
		return printTable(w, []string{"MACHINE", "FIRMWARE", "OUTLETS", "STATE", "FOR", "MAC", "ADDRESS"}, machineRows(s.Machines))
	})
}

func applianceState(s lab.ApplianceStatus) string {
	if s.PID != 0 {
		return fmt.Sprintf("process %d", s.PID)
	}
	return "not running (" + s.Exit + ")"
}

func machineRows(machines []lab.MachineStatus) (rows [][]string) {
	for _, m := range machines {
		var outlets []string
		for _, n := range m.Outlets {
			outlets = append(outlets, strconv.Itoa(n))
		}
		state := string(m.State)
		if m.Unplugged {
			state += ", unplugged"
		}
		if m.State == machine.Failed {
			state += ": " + m.Reason
		}
		rows = append(rows, []string{
			m.Name, string(m.Firmware), strings.Join(outlets, ","), state,
			time.Since(m.Since).Round(time.Second).String(), strings.Join(m.MACs, ","), orDash(m.Address),
		})
	}
	return rows
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
