package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/asset"
)

// newMachineCmd is gantry machine.
func newMachineCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "machine", Short: "Machines of the pod: list, inspect, deploy, release", Aliases: []string{"machines"}}
	cmd.AddCommand(
		newMachineListCmd(app),
		newMachineShowCmd(app),
		newMachineImportCmd(app),
		newMachineAcceptCmd(app),
		newMachineDeployCmd(app),
		newMachineRescueCmd(app),
		newMachineVerb(app, "inspect", "Take a machine's inventory again"),
		newMachineVerb(app, "release", "Wipe a machine and make it available; what is on it is lost"),
		newMachineVerb(app, "restart", "Switch an active machine off and on"),
		newMachineVerb(app, "start", "Switch an active machine on"),
		newMachineVerb(app, "stop", "Switch an active machine off"),
		newMachineVerb(app, "unrescue", "Leave the rescue system and boot the disk"),
		newMachineVerb(app, "restore", "End a machine's maintenance: wipe it and make it available"),
		newMachineMaintainCmd(app),
		newMachineDeleteCmd(app),
		newMachineLogsCmd(app),
		newMachineConsoleCmd(app),
	)
	return cmd
}

func newMachineListCmd(app *app) *cobra.Command {
	var state string
	cmd := &cobra.Command{Use: "list", Short: "List machines", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var list []api.Machine
		path := "/v1/machines"
		if state != "" {
			path += "?state=" + url.QueryEscape(state)
		}
		if err := app.call(cmd.Context(), http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		return app.print(list, func(w io.Writer) error {
			var rows [][]string
			for _, m := range list {
				rows = append(rows, machineRow(m))
			}
			if len(rows) == 0 {
				fmt.Fprintln(app.err, "no machines; import an inventory with: gantry machine import FILE")
			}
			return printTable(w, []string{"MACHINE", "STATE", "SINCE", "SERVER", "IMAGE", "ADDRESS", "HARDWARE", "DOING"}, rows)
		})
	}}
	cmd.Flags().StringVar(&state, "state", "", "only machines in this state")
	return cmd
}

func machineRow(m api.Machine) []string {
	server, image, doing := "-", "-", "-"
	if m.Server != nil {
		server, image = m.Server.Hostname, m.Server.Image
	}
	if m.Request != nil {
		doing = string(m.Request.Kind)
		if p := m.Request.Progress; p != nil {
			doing += ": " + p.Step
		}
	}
	return []string{m.ID, string(m.Status.State), ago(m.Status.Since), server, image, m.Address.String(), hardware(m), doing}
}

func hardware(m api.Machine) string {
	inv := m.Inventory
	if inv == nil {
		return "not inspected"
	}
	var disks int64
	for _, d := range inv.Disks {
		disks += d.Bytes
	}
	return fmt.Sprintf("%d cpu, %s, %d disks %s, %s", inv.CPU.Threads, size(inv.Memory), len(inv.Disks), size(disks), inv.Firmware)
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return time.Since(t).Round(time.Second).String()
}

func newMachineShowCmd(app *app) *cobra.Command {
	return &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "show MACHINE", Short: "Show a machine: state, hardware, server, power", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := app.machine(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return app.print(m, func(w io.Writer) error { return printMachine(w, m) })
		}}
}

func (a *app) machine(ctx context.Context, id string) (m api.Machine, err error) {
	err = a.call(ctx, http.MethodGet, "/v1/machines/"+url.PathEscape(id), nil, &m)
	return m, err
}

func printMachine(w io.Writer, m api.Machine) error {
	rows := [][]string{
		{"machine", m.ID}, {"state", string(m.Status.State) + " for " + ago(m.Status.Since)}, {"reason", dash(m.Status.Reason)},
		{"owner", dash(m.Owner)}, {"address", m.Address.String()}, {"macs", strings.Join(m.MACs, " ")}, {"uuid", dash(m.UUID)},
	}
	for _, f := range m.Power {
		rows = append(rows, []string{"power", f.PDU + " outlet " + f.Outlet})
	}
	if m.Server != nil {
		rows = append(rows, []string{"server", m.Server.Hostname}, []string{"image", m.Server.Image}, []string{"users", strings.Join(m.Server.Users, " ")})
		for _, k := range m.Server.HostKeys {
			rows = append(rows, []string{"host key", k})
		}
	}
	if inv := m.Inventory; inv != nil {
		rows = append(rows, []string{"system", strings.TrimSpace(inv.System.Vendor + " " + inv.System.Product + " " + inv.System.Serial)},
			[]string{"cpu", fmt.Sprintf("%s, %d sockets, %d cores, %d threads", inv.CPU.Model, inv.CPU.Sockets, inv.CPU.Cores, inv.CPU.Threads)},
			[]string{"memory", size(inv.Memory)}, []string{"firmware", inv.Firmware})
		for _, d := range inv.Disks {
			rows = append(rows, []string{"disk", fmt.Sprintf("%s %s %s %s serial %s", d.Path, size(d.Bytes), d.Transport, d.Model, dash(d.Serial))})
		}
		for _, n := range inv.NICs {
			rows = append(rows, []string{"nic", fmt.Sprintf("%s %s %s %d Mb/s", n.Name, n.MAC, n.Driver, n.Mbps)})
			for _, b := range n.Neighbours {
				rows = append(rows, []string{"cable", fmt.Sprintf("%s to %s port %s", n.Name, dash(b.SystemName), b.PortID)})
			}
		}
	}
	for _, d := range m.Wiped {
		rows = append(rows, []string{"wiped", fmt.Sprintf("%s serial %s by %s, read back: %s, %s", d.Path, dash(d.Serial), d.Method, d.Verified, d.Ended.Format(time.RFC3339))})
	}
	return printTable(w, []string{"WHAT", "VALUE"}, rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newMachineImportCmd(app *app) *cobra.Command {
	return &cobra.Command{Use: "import FILE", Short: "Import an inventory file (YAML): machines, PDUs, outlets", Args: exactArgs(1),
		Example: "  gantry machine import pod.yaml\n\n  # pod.yaml\n  pdus:\n    - {name: pdu1, driver: pdu-snmp, address: \"10.0.0.5:161\", config: {version: \"2c\", community: R, write_community: W}}\n  machines:\n    - {name: m1, macs: [\"52:54:00:00:00:01\"], power: [{pdu: pdu1, outlet: \"1\"}], owner: us}",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return withCode(exitUsage, err)
			}
			defer f.Close()
			var done asset.Imported
			if err := app.call(cmd.Context(), http.MethodPost, "/v1/inventory", f, &done, "Content-Type", "application/yaml"); err != nil {
				return err
			}
			return app.print(done, func(w io.Writer) error {
				fmt.Fprintf(w, "added: %s\nupdated: %s\n", dash(strings.Join(done.Added, " ")), dash(strings.Join(done.Updated, " ")))
				return nil
			})
		}}
}

func newMachineDeleteCmd(app *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "delete MACHINE", Short: "Take a machine out of the inventory", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/machines/" + url.PathEscape(args[0])
			if force {
				path += "?force=true"
			}
			if err := app.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
			return app.did("deleted", "machine", args[0])
		}}
	cmd.Flags().BoolVar(&force, "force", false, "even if its disks were not wiped: they were destroyed or taken out")
	return cmd
}

func newMachineMaintainCmd(app *app) *cobra.Command {
	return &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "maintain MACHINE REASON...", Short: "Take a machine out of use for maintenance", Args: usageArgs(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var m api.Machine
			body := map[string]string{"reason": strings.Join(args[1:], " ")}
			if err := app.call(cmd.Context(), http.MethodPost, "/v1/machines/"+url.PathEscape(args[0])+"/maintain", body, &m); err != nil {
				return err
			}
			return app.print(m, func(w io.Writer) error { return printMachine(w, m) })
		}}
}

func newMachineLogsCmd(app *app) *cobra.Command {
	var followLog bool
	var tail int
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "logs MACHINE", Short: "Show what a machine's netboot agent said", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := fmt.Sprintf("/v1/machines/%s/log?tail=%d", url.PathEscape(args[0]), tail)
			if followLog {
				path += "&follow=1"
			}
			c, err := app.newClient()
			if err != nil {
				return err
			}
			resp, err := c.open(cmd.Context(), http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			return app.printLog(resp.Body)
		}}
	cmd.Flags().BoolVarP(&followLog, "follow", "f", false, "go on as it says more")
	cmd.Flags().IntVar(&tail, "tail", 200, "how many of the last lines")
	return cmd
}

// logLine is a line of a machine's log, for programs.
type logLine struct {
	Time string `json:"time"` // RFC 3339
	Text string `json:"text"`
}

// printLog passes a log on as it comes: as text, as a JSON object a line, or as
// the items of a YAML list.
func (a *app) printLog(log io.Reader) error {
	if a.output == "table" {
		_, err := io.Copy(a.out, log)
		return err
	}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l logLine
		l.Time, l.Text, _ = strings.Cut(lines.Text(), " ")
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if a.output == "yaml" { // of which JSON is a part
			text = append([]byte("- "), text...)
		}
		if _, err := fmt.Fprintf(a.out, "%s\n", text); err != nil {
			return err
		}
	}
	return lines.Err()
}

// exactArgs is cobra.ExactArgs with the exit code for wrong usage.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return withCode(exitUsage, fmt.Errorf("usage: %s", cmd.UseLine()))
		}
		return nil
	}
}
