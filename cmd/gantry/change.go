package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/deploy"
)

// changeFlags are what every command that makes a change request takes.
type changeFlags struct {
	detach bool
	key    string
}

func (f *changeFlags) register(cmd *cobra.Command) {
	detachFlag(cmd, &f.detach)
	cmd.Flags().StringVar(&f.key, "key", "", "idempotency key: the same key is the same request")
}

func detachFlag(cmd *cobra.Command, detach *bool) {
	cmd.Flags().BoolVar(detach, "detach", false, "do not wait for the end")
}

// change makes a change request and follows it.
func (a *app) change(ctx context.Context, f changeFlags, machine, verb string, body any) error {
	c, err := a.newClient()
	if err != nil {
		return err
	}
	var header []string
	if f.key != "" {
		header = []string{"Idempotency-Key", f.key}
	}
	var r api.Request
	if err := c.call(ctx, http.MethodPost, "/v1/machines/"+url.PathEscape(machine)+"/"+verb, body, &r, header...); err != nil {
		return err
	}
	return a.followUnless(ctx, c, f.detach, r)
}

func (a *app) followUnless(ctx context.Context, c *client, detach bool, r api.Request) error {
	if detach {
		return a.print(r, func(w io.Writer) error { _, err := fmt.Fprintln(w, r.ID); return err })
	}
	return a.follow(ctx, c, r)
}

func newMachineVerb(app *app, verb, short string) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: verb + " MACHINE", Short: short, Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return app.change(cmd.Context(), f, args[0], verb, nil)
	}}
	f.register(cmd)
	return cmd
}

func newMachineAcceptCmd(app *app) *cobra.Command {
	var detach bool
	var owner string
	var feeds []string
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "accept MACHINE", Short: "Vouch for a machine; it is inspected and becomes available", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := struct {
				Owner string       `json:"owner,omitempty"`
				Power []asset.Feed `json:"power,omitempty"`
			}{Owner: owner}
			for _, s := range feeds {
				pdu, outlet, ok := strings.Cut(s, "/")
				if !ok {
					return withCode(exitUsage, fmt.Errorf("--power %q: want PDU/OUTLET", s))
				}
				body.Power = append(body.Power, asset.Feed{PDU: pdu, Outlet: outlet})
			}
			c, err := app.newClient()
			if err != nil {
				return err
			}
			var m api.Machine
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/machines/"+url.PathEscape(args[0])+"/accept", body, &m); err != nil {
				return err
			}
			if m.Request != nil {
				return app.followUnless(cmd.Context(), c, detach, *m.Request)
			}
			return app.print(m, func(w io.Writer) error { return printMachine(w, m) })
		}}
	detachFlag(cmd, &detach)
	cmd.Flags().StringVar(&owner, "owner", "", "who owns the hardware")
	cmd.Flags().StringArrayVar(&feeds, "power", nil, "an outlet that feeds it, PDU/OUTLET; repeat for two feeds")
	return cmd
}

func newMachineRescueCmd(app *app) *cobra.Command {
	var f changeFlags
	var keyFiles []string
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "rescue MACHINE", Short: "Start the rescue system on a machine; its disks are left alone", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := readKeys(keyFiles)
			if err != nil {
				return withCode(exitUsage, err)
			}
			if err := app.change(cmd.Context(), f, args[0], "rescue", deploy.RescueSpec{SSHKeys: keys}); err != nil || f.detach {
				return err
			}
			m, err := app.machine(cmd.Context(), args[0])
			if err == nil {
				fmt.Fprintln(app.err, m.Status.Reason)
			}
			return err
		}}
	f.register(cmd)
	cmd.Flags().StringArrayVar(&keyFiles, "ssh-key", nil, "public key that may log in as root: a file, or the key itself")
	return cmd
}
