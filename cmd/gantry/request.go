package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/api"
)

// newRequestCmd is gantry request.
func newRequestCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "request", Short: "Change requests: list, show, follow, cancel, retry", Aliases: []string{"requests"}}
	cmd.AddCommand(newRequestListCmd(app), newRequestShowCmd(app),
		newRequestVerb(app, "cancel", "Stop a request and undo what it did"),
		newRequestVerb(app, "retry", "Go on with a failed request where it failed, or give it anew where it was undone"))
	return cmd
}

func newRequestListCmd(app *app) *cobra.Command {
	var machine string
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List change requests, newest first", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var list []api.Request
		path := fmt.Sprintf("/v1/requests?limit=%d&machine=%s", limit, url.QueryEscape(machine))
		if err := app.call(cmd.Context(), http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		return app.print(list, func(w io.Writer) error {
			var rows [][]string
			for _, r := range list {
				why := "-"
				if r.Error != nil {
					why = r.Error.Detail
				}
				end := r.Ended
				if end.IsZero() {
					end = time.Now()
				}
				rows = append(rows, []string{r.ID, string(r.Kind), r.Machine, string(r.Status), fmt.Sprintf("%.1f", end.Sub(r.Created).Seconds()), r.By, why})
			}
			return printTable(w, []string{"REQUEST", "KIND", "MACHINE", "STATUS", "SECONDS", "BY", "WHY"}, rows)
		})
	}}
	cmd.Flags().StringVar(&machine, "machine", "", "only of this machine")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}

func newRequestShowCmd(app *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{ValidArgsFunction: app.complete(requestNames), Use: "show REQUEST", Short: "Show a change request with its steps", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := app.newClient()
		if err != nil {
			return err
		}
		var r api.Request
		if err := c.call(cmd.Context(), http.MethodGet, "/v1/requests/"+url.PathEscape(args[0]), nil, &r); err != nil {
			return err
		}
		if follow {
			return app.follow(cmd.Context(), c, r)
		}
		return app.print(r, func(w io.Writer) error { return printRequest(w, r) })
	}}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	return cmd
}

func printRequest(w io.Writer, r api.Request) error {
	fmt.Fprintf(w, "%s of machine %s: %s, asked for by %s at %s\n", r.Kind, r.Machine, r.Status, r.By, r.Created.Format(time.RFC3339))
	var rows [][]string
	for _, s := range r.Steps {
		name := s.Name
		if s.Undo {
			name = "undo: " + name
		}
		why := "-"
		if s.Error != nil {
			why = s.Error.Detail
		}
		rows = append(rows, []string{name, string(s.Status), took(s.Began, s.Ended), strconv.Itoa(s.Attempt), why})
		for _, p := range s.Phases {
			rows = append(rows, []string{"  " + p.Name, "", took(p.Began, p.Ended), "", ""})
		}
	}
	if err := printTable(w, []string{"STEP", "STATUS", "SECONDS", "ATTEMPT", "WHY"}, rows); err != nil {
		return err
	}
	if r.Error != nil {
		fmt.Fprintf(w, "why: %s\n", r.Error.Detail)
		if r.Error.Action != "" {
			fmt.Fprintf(w, "what to do: %s\n", r.Error.Action)
		}
	}
	return nil
}

func took(began, ended time.Time) string {
	switch {
	case began.IsZero():
		return "-"
	case ended.IsZero():
		return fmt.Sprintf("%.1f…", time.Since(began).Seconds())
	}
	return fmt.Sprintf("%.1f", ended.Sub(began).Seconds())
}

func newRequestVerb(app *app, verb, short string) *cobra.Command {
	var detach bool
	cmd := &cobra.Command{ValidArgsFunction: app.complete(requestNames), Use: verb + " REQUEST", Short: short, Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := app.newClient()
		if err != nil {
			return err
		}
		var r api.Request
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/requests/"+url.PathEscape(args[0])+"/"+verb, nil, &r); err != nil {
			return err
		}
		if verb == "cancel" {
			return app.print(r, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "request %s is being cancelled; see gantry request show -f %s\n", r.ID, r.ID)
				return err
			})
		}
		return app.followUnless(cmd.Context(), c, detach, r)
	}}
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	return cmd
}

// newAlertCmd is gantry alert.
func newAlertCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "alert", Short: "Alerts: what a person is needed for", Aliases: []string{"alerts"}}
	var all bool
	list := &cobra.Command{Use: "list", Short: "List open alerts", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var alerts []alert.Alert
		if err := app.call(cmd.Context(), http.MethodGet, fmt.Sprintf("/v1/alerts?all=%v", all), nil, &alerts); err != nil {
			return err
		}
		return app.print(alerts, func(w io.Writer) error {
			var rows [][]string
			for _, a := range alerts {
				rows = append(rows, []string{a.ID, a.Code, a.Subject, strconv.Itoa(a.Count), ago(a.Last), a.Detail, dash(a.Action)})
			}
			return printTable(w, []string{"ALERT", "CODE", "SUBJECT", "COUNT", "LAST", "DETAIL", "WHAT TO DO"}, rows)
		})
	}}
	list.Flags().BoolVar(&all, "all", false, "resolved ones too")
	cmd.AddCommand(list, &cobra.Command{ValidArgsFunction: app.complete(alertNames), Use: "resolve ALERT", Short: "Close an alert", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := app.call(cmd.Context(), http.MethodPost, "/v1/alerts/"+url.PathEscape(args[0])+"/resolve", nil, nil); err != nil {
			return err
		}
		return app.did("resolved", "alert", args[0])
	}})
	return cmd
}
