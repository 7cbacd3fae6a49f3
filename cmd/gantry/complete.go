package main

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// completePatience bounds how long a shell waits for names.
const completePatience = 2 * time.Second

// namer lists what an argument may be; before are the arguments before it. What
// follows a tab in a name is its description.
type namer func(ctx context.Context, a *app, before []string) ([]string, error)

// complete completes a command's arguments, one namer for each.
func (a *app) complete(namers ...namer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(namers) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
		defer cancel()
		names, err := namers[len(args)](ctx, a, args)
		if err != nil { // a shell can show none
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// namesOf is a namer of a list of the API's.
func namesOf[T any](path string, name func(T) string) namer {
	return func(ctx context.Context, a *app, _ []string) (names []string, err error) {
		var list []T
		err = a.call(ctx, http.MethodGet, path, nil, &list)
		for _, v := range list {
			names = append(names, name(v))
		}
		return names, err
	}
}

func machineNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/machines", func(m api.Machine) string { return m.ID + "\t" + string(m.Status.State) })(ctx, a, before)
}

// imageNames are NAME:VERSION.
func imageNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/images", func(i api.Image) string { return i.Name + ":" + i.Version + "\t" + i.OS + " " + i.OSVersion })(ctx, a, before)
}

func pduNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/pdus", func(p api.PDU) string { return p.ID + "\t" + p.Address })(ctx, a, before)
}

func outletNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/pdus/"+url.PathEscape(before[0])+"/outlets", func(o api.Outlet) string { return o.ID + "\t" + o.State + " " + o.Machine })(ctx, a, before)
}

func requestNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/requests?limit=50", func(r api.Request) string {
		return r.ID + "\t" + string(r.Kind) + " of " + r.Machine + ", " + string(r.Status)
	})(ctx, a, before)
}

func alertNames(ctx context.Context, a *app, before []string) ([]string, error) {
	return namesOf("/v1/alerts", func(x alert.Alert) string { return x.ID + "\t" + x.Code + " " + x.Subject })(ctx, a, before)
}

// flagValues are the values of a flag that has few, in a group of commands.
func flagValues(group, flag string) []string {
	switch flag {
	case "output":
		return []string{"table", "json", "yaml"}
	case "firmware":
		if group == "lab" {
			return []string{"bios", "uefi", "mixed"}
		}
		return []string{"bios", "uefi", "both"}
	case "format":
		return []string{"disk", "rootfs"}
	case "arch":
		return []string{"amd64", "arm64"}
	case "kind":
		return []string{"plain", "web", "database", "application"}
	}
	return nil
}

// completeFlags completes the values of a command's own flags.
func (a *app) completeFlags(cmd *cobra.Command) {
	group := ""
	if cmd.HasParent() {
		group = cmd.Parent().Name()
	}
	register := func(flag string, f cobra.CompletionFunc) {
		if cmd.Flags().Lookup(flag) == nil && cmd.PersistentFlags().Lookup(flag) == nil {
			return
		}
		if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // the flag is there, and has none yet
		}
	}
	for _, flag := range []string{"output", "firmware", "format", "arch", "kind"} {
		register(flag, cobra.FixedCompletions(flagValues(group, flag), cobra.ShellCompDirectiveNoFileComp))
	}
	// The arguments before a flag's value are the command's own: not its.
	alone := func(n namer) cobra.CompletionFunc {
		f := a.complete(n)
		return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return f(cmd, nil, typed)
		}
	}
	register("machine", alone(machineNames))
	register("image", alone(imageNames))
	register("state", func(cmd *cobra.Command, _ []string, _ string) (names []string, _ cobra.ShellCompDirective) {
		if group == "lab" { // a directory
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		for _, s := range machine.States() {
			names = append(names, string(s))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}
