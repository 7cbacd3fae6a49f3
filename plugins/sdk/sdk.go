// Package sdk is what a vendor imports to write a Gantry driver. A driver is a
// program whose main calls Serve with a Driver value; one process then serves
// any number of devices, many calls at once.
//
// The SDK owns the process's side of the contract: the handshake, the health
// beat, panics, fencing of stale callers, deadlines, and dying with its host.
// The driver owns the device: it keeps no state that it cannot afford to lose
// at any moment.
package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/internal/handshake"
	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

// Driver is a device driver, ready to serve. All functions are called from
// many goroutines at once, with a context that always has a deadline. Errors
// should be *device.Error; any other is reported as the driver's own fault.
type Driver struct {
	// Name is what the operator calls the driver: pdu-snmp.
	Name string
	// Vendor made the driver.
	Vendor string
	// Version is a semantic version without a leading v.
	Version string
	// ConfigSchema is the JSON Schema (2020-12) of a target's configuration.
	ConfigSchema json.RawMessage
	// Validate checks a target's configuration beyond its schema, without
	// touching the device. It may be nil.
	Validate func(target device.Target) error
	// Probe asks the device who it is and what it can do.
	Probe func(ctx context.Context, target device.Target) (device.Identity, error)
	// PDU switches outlets; nil if the driver is not of that kind.
	PDU PDU
}

// PDU is the part of a driver that switches outlets.
type PDU interface {
	// ListOutlets returns all outlets in the device's order.
	ListOutlets(ctx context.Context, target device.Target) ([]device.Outlet, error)
	// GetOutlets reads the outlets named, and answers each in that order. An
	// outlet that the device does not have has a NotFound reading; the error
	// is for when none could be read.
	GetOutlets(ctx context.Context, target device.Target, ids []string) ([]device.Reading, error)
	// SetOutlet makes an outlet be on or off. It must say applied only after
	// it has read the device back, and must not touch an outlet whose state
	// it cannot read.
	SetOutlet(ctx context.Context, target device.Target, change device.Change) (device.Result, error)
}

// Cycler is a PDU whose devices can switch an outlet off and on again by
// themselves. A PDU that does not implement it answers Unsupported.
type Cycler interface {
	// CycleOutlet has the device cycle the outlet; change.On is not used.
	CycleOutlet(ctx context.Context, target device.Target, change device.Change) (device.Result, error)
}

// Check says whether the driver can be served.
func (d Driver) Check() error {
	var errs []error
	if d.Name == "" || d.Vendor == "" || d.Version == "" {
		errs = append(errs, errors.New("name, vendor and version must be set"))
	}
	if !json.Valid(d.ConfigSchema) {
		errs = append(errs, errors.New("the configuration's schema is not JSON"))
	}
	if d.Probe == nil {
		errs = append(errs, errors.New("probe must be set"))
	}
	if d.PDU == nil {
		errs = append(errs, errors.New("no kind of device is implemented"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("driver %q: %w", d.Name, errors.Join(errs...))
	}
	return nil
}

// Serve runs the driver until its host stops it or dies. It is the last call
// of main: it does not return when it cannot serve, but prints why and exits
// with status 1.
func Serve(d Driver) {
	if err := d.Check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go dieWithHost(hostPID())
	srv := newServer(d, NewLogger())
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: handshake.Config(),
		Plugins:         goplugin.PluginSet{handshake.Service: &handshake.Plugin{Register: srv.register}},
		GRPCServer:      srv.grpcServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
	})
}

// NewLogger returns a logger whose lines reach the appliance's log with their
// level and attributes. The host bounds their rate. Never log a target's
// configuration.
func NewLogger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stderr, nil))
}

func (s *server) register(g *grpc.Server) {
	pluginv1.RegisterDriverServer(g, s)
	if s.driver.PDU != nil {
		pluginv1.RegisterPDUServer(g, &pduServer{server: s, pdu: s.driver.PDU})
	}
}
