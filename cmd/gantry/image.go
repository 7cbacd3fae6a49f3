package main

import (
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
)

// newImageCmd is gantry image.
func newImageCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "The image library: import, list, show, verify, delete", Aliases: []string{"images"}}
	cmd.AddCommand(newImageImportCmd(app), newImageListCmd(app),
		&cobra.Command{ValidArgsFunction: app.complete(imageNames), Use: "show IMAGE", Short: "Show an image", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			var i api.Image
			if err := app.call(cmd.Context(), http.MethodGet, "/v1/images/"+url.PathEscape(args[0]), nil, &i); err != nil {
				return err
			}
			return app.print(i, func(w io.Writer) error { return printImage(w, i) })
		}},
		&cobra.Command{ValidArgsFunction: app.complete(imageNames), Use: "verify IMAGE", Short: "Read every byte of an image and compare it with its manifest", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			c, err := app.newClient()
			if err != nil {
				return err
			}
			stop := app.watchTransfer(cmd.Context(), c, args[0], "verify")
			var i api.Image
			err = c.call(cmd.Context(), http.MethodPost, "/v1/images/"+url.PathEscape(args[0])+"/verify", nil, &i)
			stop()
			if err != nil {
				return err
			}
			if err := app.print(i, func(w io.Writer) error { return printImage(w, i) }); err != nil {
				return err
			}
			fmt.Fprintln(app.err, "every chunk is as the manifest says")
			return nil
		}},
		&cobra.Command{ValidArgsFunction: app.complete(imageNames), Use: "delete IMAGE", Short: "Delete an image that nothing uses", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			if err := app.call(cmd.Context(), http.MethodDelete, "/v1/images/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return app.did("deleted", "image", args[0])
		}})
	return cmd
}

func newImageListCmd(app *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List images", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var list []api.Image
		if err := app.call(cmd.Context(), http.MethodGet, "/v1/images", nil, &list); err != nil {
			return err
		}
		return app.print(list, func(w io.Writer) error {
			var rows [][]string
			for _, i := range list {
				rows = append(rows, []string{i.Name + ":" + i.Version, strings.TrimSpace(i.OS + " " + i.OSVersion), i.Arch, i.Firmware, i.Format, dash(i.ServerKind),
					size(i.Size), size(i.Stored), dash(i.Owner), i.Created.Format(time.DateOnly)})
			}
			return printTable(w, []string{"IMAGE", "OS", "ARCH", "FIRMWARE", "FORMAT", "KIND", "DISK", "STORED", "OWNER", "DATE"}, rows)
		})
	}}
}

func printImage(w io.Writer, i api.Image) error {
	return printTable(w, []string{"WHAT", "VALUE"}, [][]string{
		{"image", i.Name + ":" + i.Version}, {"digest", i.Digest}, {"os", strings.TrimSpace(i.OS + " " + i.OSVersion)},
		{"architecture", i.Arch}, {"firmware", i.Firmware}, {"format", i.Format}, {"kind", dash(i.ServerKind)},
		{"applications", dash(strings.Join(i.Applications, " "))}, {"on disk", size(i.Size)}, {"data", size(i.Data)}, {"stored", size(i.Stored)},
		{"least memory", size(i.MinMemory)}, {"least disk", size(i.MinDisk)}, {"owner", dash(i.Owner)}, {"licence", dash(i.LicenceCost)},
		{"dedicated only", fmt.Sprint(i.Dedicated)}, {"created", i.Created.Format(time.RFC3339)}})
}

func newImageImportCmd(app *app) *cobra.Command {
	var spec api.ImportSpec
	var remote bool
	cmd := &cobra.Command{Use: "import FILE --name NAME --version VERSION", Short: "Import an image: raw, qcow2 or tar, plain or gz, zst, xz", Args: exactArgs(1),
		Example: "  gantry image import debian-12.qcow2 --name debian-12 --version 12.8 --os debian --os-version 12",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := app.newClient()
			if err != nil {
				return err
			}
			var img api.Image
			spec.Path = args[0]
			if remote || strings.Contains(args[0], "://") {
				stop := app.watchTransfer(cmd.Context(), c, spec.Name+":"+spec.Version, "import")
				err := c.call(cmd.Context(), http.MethodPost, "/v1/images", spec, &img)
				stop()
				if err != nil {
					return err
				}
				return app.print(img, func(w io.Writer) error { return printImage(w, img) })
			}
			if err := app.upload(cmd, c, args[0], spec, &img); err != nil {
				return err
			}
			return app.print(img, func(w io.Writer) error { return printImage(w, img) })
		}}
	f := cmd.Flags()
	f.StringVar(&spec.Name, "name", "", "image name")
	f.StringVar(&spec.Version, "version", "", "image version")
	f.StringVar(&spec.Format, "format", "disk", "disk, or rootfs for a tar of a root file system")
	f.StringVar(&spec.Checksum, "checksum", "", "sha256:HEX that the file must have")
	f.StringVar(&spec.OS, "os", "", "operating system, such as debian")
	f.StringVar(&spec.OSVersion, "os-version", "", "its version")
	f.StringVar(&spec.Arch, "arch", "amd64", "amd64 or arm64")
	f.StringVar(&spec.Firmware, "firmware", "both", "bios, uefi or both")
	f.StringVar(&spec.ServerKind, "kind", "plain", "web, database, application or plain")
	f.StringSliceVar(&spec.Applications, "application", nil, "installed applications")
	f.StringVar(&spec.Owner, "owner", "", "account that owns it; everyone's if empty")
	f.StringVar(&spec.LicenceCost, "licence-cost", "", "what its licence costs a month")
	f.Int64Var(&spec.MinMemory, "min-memory", 0, "least memory, bytes")
	f.Int64Var(&spec.MinDisk, "min-disk", 0, "least disk, bytes")
	f.BoolVar(&spec.Dedicated, "dedicated-only", false, "not for virtual servers")
	f.BoolVar(&remote, "on-appliance", false, "FILE is on the appliance, not here")
	for _, name := range []string{"name", "version"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// upload sends a file to the appliance and shows how far it is.
func (a *app) upload(cmd *cobra.Command, c *client, path string, spec api.ImportSpec, img *api.Image) error {
	f, err := os.Open(path)
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	spec.Path = ""
	meta, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	body := &meteredReader{r: f, total: st.Size(), meter: a.newMeter("import")}
	err = c.call(cmd.Context(), http.MethodPut, "/v1/images/"+url.PathEscape(spec.Name)+"/"+url.PathEscape(spec.Version), io.Reader(body), img, "Gantry-Image", string(meta))
	body.meter.clear()
	return err
}
