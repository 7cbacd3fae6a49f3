package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/plugins/conformance"
	"github.com/gantry-pod/gantry/plugins/host"
)

// newDriverCmd is gantry driver.
func newDriverCmd(app *app) *cobra.Command {
	cmd := &cobra.Command{Use: "driver", Short: "Device drivers: check one against a device", Aliases: []string{"drivers"}}
	cmd.AddCommand(newDriverVerifyCmd(app))
	return cmd
}

// verifyFlags are those of gantry driver verify.
type verifyFlags struct {
	target, config, user string
	conformance.Options
}

func newDriverVerifyCmd(app *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{Use: "verify BINARY --target HOST[:PORT]", Args: exactArgs(1),
		Short: "Check a driver of PDUs against a device: what the contract promises, one by one",
		Long: `Run a driver and check what the contract promises against a device that it
reaches. Without --outlet nothing is switched. With -o json or yaml the report is
one to publish: it names the driver's file by its digest.`,
		Example: `  gantry driver verify ./gantry-driver-acme --target 192.0.2.7 --config acme.json
  gantry driver verify ./gantry-driver-acme --target 192.0.2.7 --config - --outlet 8 <acme.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := app.verifyDriver(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			if err := app.print(r, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d kept, %d broken, %d left out\n", r.Kept, r.Broken, r.LeftOut)
				return err
			}); err != nil {
				return err
			}
			if r.Broken > 0 {
				return fmt.Errorf("driver %s %s breaks %d of its promises", r.Driver, r.Version, r.Broken)
			}
			return nil
		}}
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "the device's address, as the driver wants it")
	flags.StringVar(&f.config, "config", "", "`FILE` with the device's configuration as JSON, - for standard input: it has secrets, and so is no flag")
	flags.StringVar(&f.Outlet, "outlet", "", "an outlet that may be switched on and off")
	flags.StringVar(&f.user, "user", "", "the user whom the driver runs as; needs root")
	flags.IntVar(&f.Calls, "calls", 200, "calls at once")
	flags.DurationVar(&f.Settle, "settle", 30*time.Second, "how long an outlet may take to be as asked")
	if err := cmd.MarkFlagRequired("target"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// driverReport is what came of a verification.
type driverReport struct {
	Driver  string         `json:"driver"`
	Version string         `json:"version"`
	Kinds   []string       `json:"kinds"`
	Digest  string         `json:"digest"` // sha256:HEX of the driver's file
	Device  verifiedDevice `json:"device"`
	Date    time.Time      `json:"date"`
	Kept    int            `json:"kept"`
	Broken  int            `json:"broken"`
	LeftOut int            `json:"left_out"`
	Checks  []driverCheck  `json:"checks"`
}

// verifiedDevice is what the device said of itself, without its serial number and
// its name, which are nobody's business.
type verifiedDevice struct {
	Vendor   string `json:"vendor"`
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Family   string `json:"family"`
	Outlets  int    `json:"outlets"`
}

// driverCheck is one promise.
type driverCheck struct {
	Name    string  `json:"name"`
	Promise string  `json:"promise"`
	Verdict string  `json:"verdict"` // kept, broken or left out
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
}

// verifyDriver runs the driver alone, in a host and a folder of its own.
func (a *app) verifyDriver(ctx context.Context, binary string, f verifyFlags) (*driverReport, error) {
	config, err := a.readConfig(f.config)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	name, ok := strings.CutPrefix(filepath.Base(binary), host.BinaryPrefix)
	if !ok || name == "" {
		return nil, withCode(exitUsage, fmt.Errorf("%s: a driver's file is called %sNAME", binary, host.BinaryPrefix))
	}
	dir, err := os.MkdirTemp("", "gd")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &driverReport{Driver: name, Date: a.now().UTC().Truncate(time.Second)}
	if r.Digest, err = copyDriver(filepath.Join(dir, filepath.Base(binary)), binary); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // for f.user
		return nil, err
	}
	h, err := host.New(host.Config{Dir: dir, RunDir: filepath.Join(dir, "run"), User: f.user,
		Log: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return nil, err
	}
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	defer func() { _ = h.Close(); <-ran }()
	status, err := a.driverStarts(ctx, h)
	if err != nil {
		return nil, err
	}
	r.Version, r.Kinds = status.Version, status.Kinds
	pdu := h.PDU(name, host.Target{Address: f.target, Config: config, Name: f.target})
	id, err := pdu.Probe(ctx)
	if err != nil {
		return nil, fmt.Errorf("the device at %s: %w", f.target, err)
	}
	r.Device = verifiedDevice{Vendor: id.Vendor, Model: id.Model, Firmware: id.Firmware, Family: id.Family, Outlets: id.Outlets}
	f.Each = func(v conformance.Verdict) { a.addVerdict(r, v) }
	conformance.VerifyPDU(ctx, pdu, f.Options)
	return r, ctx.Err()
}

// driverStarts waits until the driver runs, or has failed to.
func (a *app) driverStarts(ctx context.Context, h *host.Host) (host.DriverStatus, error) {
	for {
		s := h.Drivers()[0]
		switch {
		case s.State == host.DriverReady:
			return s, nil
		case s.LastError != "":
			return s, fmt.Errorf("driver %s does not run: %s", s.Name, s.LastError)
		case ctx.Err() != nil:
			return s, ctx.Err()
		}
		a.pause(ctx, 10*time.Millisecond)
	}
}

// addVerdict notes a verdict, and tells people of it at once.
func (a *app) addVerdict(r *driverReport, v conformance.Verdict) {
	c := driverCheck{Name: v.Name, Promise: v.Promise, Verdict: "kept", Seconds: v.Took.Seconds()}
	switch {
	case !v.Applies:
		c.Verdict = "left out"
		r.LeftOut++
	case v.Err != nil:
		c.Verdict, c.Error = "broken", v.Err.Error()
		r.Broken++
	default:
		r.Kept++
	}
	r.Checks = append(r.Checks, c)
	if a.output != "table" {
		return
	}
	fmt.Fprintf(a.out, "%-9s %-19s %6.1f s  %s\n", c.Verdict, c.Name, c.Seconds, c.Promise)
	if c.Error != "" {
		fmt.Fprintf(a.out, "          %s\n", c.Error)
	}
}

// readConfig reads a device's configuration; without a file it is empty.
func (a *app) readConfig(path string) (json.RawMessage, error) {
	var b []byte
	var err error
	switch path {
	case "":
		return json.RawMessage("{}"), nil
	case "-":
		b, err = io.ReadAll(a.in)
	default:
		b, err = os.ReadFile(path)
	}
	if err == nil && !json.Valid(b) {
		err = errors.New("it is no JSON") // and is not shown: it has secrets
	}
	if err != nil {
		return nil, fmt.Errorf("--config %s: %w", path, err)
	}
	return b, nil
}

// copyDriver copies a driver's file and returns its digest.
func copyDriver(to, from string) (digest string, err error) {
	src, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, sum), src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
