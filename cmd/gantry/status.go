package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// newStatusCmd is gantry status.
func newStatusCmd(app *app) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "The pod at a glance", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var s api.Status
		if err := app.call(cmd.Context(), http.MethodGet, "/v1/status", nil, &s); err != nil {
			return err
		}
		return app.print(s, func(w io.Writer) error {
			var machines []string
			for _, st := range machine.States() {
				if n := s.Machines[st]; n > 0 {
					machines = append(machines, fmt.Sprintf("%d %s", n, st))
				}
			}
			rows := [][]string{{"pod", s.Pod}, {"version", s.Version}, {"up", time.Since(s.Began).Round(time.Second).String()},
				{"machines", dash(strings.Join(machines, ", "))}, {"requests open", fmt.Sprint(s.Requests)}, {"alerts open", fmt.Sprint(s.Alerts)}}
			for _, d := range s.Drivers {
				rows = append(rows, []string{"driver", fmt.Sprintf("%s %s %s %s", d.Name, d.Version, d.State, d.Error)})
			}
			return printTable(w, []string{"WHAT", "VALUE"}, rows)
		})
	}}
}

// newPDUCmd is gantry pdu.
func newPDUCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "pdu", Short: "PDUs and their outlets", Aliases: []string{"pdus"}}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List PDUs", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.PDU
			if err := app.call(cmd.Context(), http.MethodGet, "/v1/pdus", nil, &list); err != nil {
				return err
			}
			return app.print(list, func(w io.Writer) error {
				var rows [][]string
				for _, p := range list {
					rows = append(rows, []string{p.ID, p.Driver, p.Address})
				}
				return printTable(w, []string{"PDU", "DRIVER", "ADDRESS"}, rows)
			})
		}},
		&cobra.Command{ValidArgsFunction: app.complete(pduNames), Use: "outlets PDU", Short: "Read a PDU's outlets", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var list []api.Outlet
			if err := app.call(cmd.Context(), http.MethodGet, "/v1/pdus/"+url.PathEscape(args[0])+"/outlets", nil, &list); err != nil {
				return err
			}
			return app.print(list, func(w io.Writer) error {
				var rows [][]string
				for _, o := range list {
					rows = append(rows, []string{o.ID, o.State, dash(o.Machine), dash(o.Label)})
				}
				return printTable(w, []string{"OUTLET", "STATE", "MACHINE", "LABEL"}, rows)
			})
		}},
		newPDUSwitchCmd(app, "on", true), newPDUSwitchCmd(app, "off", false))
	return cmd
}

func newPDUSwitchCmd(app *app, verb string, on bool) *cobra.Command {
	var force bool
	cmd := &cobra.Command{ValidArgsFunction: app.complete(pduNames, outletNames), Use: verb + " PDU OUTLET", Short: "Switch an outlet " + verb + " by hand", Args: exactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		var o api.Outlet
		body := map[string]bool{"on": on, "force": force}
		if err := app.call(cmd.Context(), http.MethodPost, "/v1/pdus/"+url.PathEscape(args[0])+"/outlets/"+url.PathEscape(args[1])+"/switch", body, &o); err != nil {
			return err
		}
		return app.print(o, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "outlet %s of %s is %s\n", o.ID, args[0], o.State)
			return err
		})
	}}
	cmd.Flags().BoolVar(&force, "force", false, "even if the machine on it is in use")
	return cmd
}
