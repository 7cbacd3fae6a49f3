package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
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
	cmd.Flags().BoolVar(&f.detach, "detach", false, "do not wait for the end")
	cmd.Flags().StringVar(&f.key, "key", "", "idempotency key: the same key is the same request")
}

// change makes a change request and follows it.
func (a *app) change(ctx context.Context, f changeFlags, machine, verb string, body any) error {
	c := a.newClient()
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
	cmd := &cobra.Command{Use: verb + " MACHINE", Short: short, Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return app.change(cmd.Context(), f, args[0], verb, nil)
	}}
	f.register(cmd)
	return cmd
}

func newMachineAcceptCmd(app *app) *cobra.Command {
	var f changeFlags
	var owner string
	var feeds []string
	cmd := &cobra.Command{Use: "accept MACHINE", Short: "Vouch for a machine; it is inspected and becomes available", Args: exactArgs(1),
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
			c := app.newClient()
			var m api.Machine
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/machines/"+url.PathEscape(args[0])+"/accept", body, &m); err != nil {
				return err
			}
			if m.Request != nil {
				return app.followUnless(cmd.Context(), c, f.detach, *m.Request)
			}
			return app.print(m, func(w io.Writer) error { return printMachine(w, m) })
		}}
	f.register(cmd)
	cmd.Flags().StringVar(&owner, "owner", "", "who owns the hardware")
	cmd.Flags().StringArrayVar(&feeds, "power", nil, "an outlet that feeds it, PDU/OUTLET; repeat for two feeds")
	return cmd
}

func newMachineDeployCmd(app *app) *cobra.Command {
	var f changeFlags
	var spec deploy.Spec
	var keyFiles []string
	var userData, layout string
	cmd := &cobra.Command{Use: "deploy MACHINE --image IMAGE", Short: "Write an image to a machine, configure it and start it", Args: exactArgs(1),
		Example: "  gantry machine deploy m1 --image debian-12 --hostname web1 --ssh-key ~/.ssh/id_ed25519.pub",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := completeSpec(&spec, keyFiles, userData, layout); err != nil {
				return withCode(exitUsage, err)
			}
			return app.change(cmd.Context(), f, args[0], "deploy", spec)
		}}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&spec.Image, "image", "", "image: NAME, which is its newest version, or NAME:VERSION")
	flags.StringVar(&spec.Hostname, "hostname", "", "host name; the machine's name if not given")
	flags.StringVar(&spec.User, "user", "", "user to make for the keys, with sudo; admin if not given")
	flags.StringArrayVar(&keyFiles, "ssh-key", nil, "public key: a file, or the key itself; repeat for more (default ~/.ssh/id_*.pub)")
	flags.StringVar(&userData, "user-data", "", "file with cloud-init user-data")
	flags.StringVar(&layout, "layout", "", "file (YAML) with partitions, for a root-file-system image")
	flags.StringVar(&spec.Disk.Serial, "disk-serial", "", "write to the disk with this serial number")
	flags.StringArrayVar(&spec.DNS, "dns", nil, "DNS server; the pod's if not given")
	flags.BoolVar(&spec.SkipReadBack, "skip-read-back", false, "do not read the disk back after writing")
	if err := cmd.MarkFlagRequired("image"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// completeSpec reads the files that the flags name.
func completeSpec(spec *deploy.Spec, keyFiles []string, userData, layout string) (err error) {
	if len(keyFiles) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			keyFiles, _ = filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub")) // the pattern is well formed
		}
		if len(keyFiles) == 0 {
			return errors.New("no SSH key: give --ssh-key FILE, or nobody could log in")
		}
	}
	if spec.SSHKeys, err = readKeys(keyFiles); err != nil {
		return err
	}
	if userData != "" {
		b, err := os.ReadFile(userData)
		if err != nil {
			return err
		}
		spec.UserData = string(b)
	}
	if layout != "" {
		b, err := os.ReadFile(layout)
		if err != nil {
			return err
		}
		j, err := yaml.YAMLToJSON(b) // its keys are those of the API
		if err != nil {
			return fmt.Errorf("layout %s: %s", layout, yaml.FormatError(err, false, true))
		}
		d := json.NewDecoder(bytes.NewReader(j))
		d.DisallowUnknownFields()
		if err := d.Decode(&spec.Layout); err != nil {
			return fmt.Errorf("layout %s: %w", layout, err)
		}
	}
	return nil
}

// readKeys reads public keys from files; a value that looks like a key is one.
func readKeys(files []string) (keys []string, err error) {
	for _, f := range files {
		text := f
		if !strings.HasPrefix(f, "ssh-") && !strings.HasPrefix(f, "ecdsa-") {
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if strings.Contains(text, "PRIVATE KEY") {
			return nil, fmt.Errorf("%s is a private key; give the public one, %s.pub", f, f)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	return keys, nil
}

func newMachineRescueCmd(app *app) *cobra.Command {
	var f changeFlags
	var keyFiles []string
	cmd := &cobra.Command{Use: "rescue MACHINE", Short: "Start the rescue system on a machine; its disks are left alone", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var spec deploy.Spec
			if err := completeSpec(&spec, keyFiles, "", ""); err != nil {
				return withCode(exitUsage, err)
			}
			if err := app.change(cmd.Context(), f, args[0], "rescue", deploy.RescueSpec{SSHKeys: spec.SSHKeys}); err != nil || f.detach {
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
