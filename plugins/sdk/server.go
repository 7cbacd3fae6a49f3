package sdk

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/gantry-pod/gantry/plugins/device"
	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

const (
	// callLimit bounds a device call whose caller set no deadline.
	callLimit = 30 * time.Second
	// maxMessage bounds a request; a target with its configuration is a few kB.
	maxMessage = 4 << 20

	minBeat = 100 * time.Millisecond
	maxBeat = time.Minute
)

// server is the base service, and what all kinds share.
type server struct {
	pluginv1.UnimplementedDriverServer
	driver  Driver
	log     *slog.Logger
	started time.Time
	calls   atomic.Uint64
	active  atomic.Int32
	fence   *fence
}

func newServer(d Driver, log *slog.Logger) *server {
	return &server{driver: d, log: log, started: time.Now(), fence: newFence()}
}

func (s *server) grpcServer(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts,
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.guard))...)
}

// guard counts calls, bounds them, turns a panic into an error of that one
// call, and gives every error its detail.
func (s *server) guard(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	s.calls.Add(1)
	s.active.Add(1)
	defer s.active.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in a call", "method", info.FullMethod, "panic", p, "stack", string(debug.Stack()))
			e := device.Errorf(device.Internal, "%s: the driver panicked: %v", info.FullMethod, p)
			e.StateKnown = false
			answer, err = nil, e.GRPCStatus().Err()
		}
	}()
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	answer, err = next(ctx, req)
	if err != nil {
		return nil, device.AsError(err).GRPCStatus().Err()
	}
	return answer, nil
}

// Info answers who the driver is.
func (s *server) Info(context.Context, *pluginv1.InfoRequest) (*pluginv1.InfoResponse, error) {
	info := &pluginv1.InfoResponse{Name: s.driver.Name, Vendor: s.driver.Vendor, Version: s.driver.Version}
	if s.driver.PDU != nil {
		info.Kinds = append(info.Kinds, pluginv1.Kind_KIND_PDU)
	}
	return info, nil
}

// ConfigSchema answers the schema of a target's configuration.
func (s *server) ConfigSchema(context.Context, *pluginv1.ConfigSchemaRequest) (*pluginv1.ConfigSchemaResponse, error) {
	return &pluginv1.ConfigSchemaResponse{JsonSchema: s.driver.ConfigSchema}, nil
}

// Validate checks a target's configuration without touching the device.
func (s *server) Validate(_ context.Context, req *pluginv1.ValidateRequest) (*pluginv1.ValidateResponse, error) {
	if s.driver.Validate == nil {
		return &pluginv1.ValidateResponse{}, nil
	}
	if err := s.driver.Validate(device.TargetFromWire(req.GetTarget())); err != nil {
		if _, ok := errors.AsType[*device.Error](err); ok {
			return nil, err
		}
		return nil, device.Errorf(device.Rejected, "configuration of %s: %w", req.GetTarget().GetName(), err)
	}
	return &pluginv1.ValidateResponse{}, nil
}

// Probe asks the device who it is.
func (s *server) Probe(ctx context.Context, req *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error) {
	id, err := s.driver.Probe(ctx, device.TargetFromWire(req.GetTarget()))
	if err != nil {
		return nil, err
	}
	return id.Wire(), nil
}

// Health beats until the caller hangs up.
func (s *server) Health(req *pluginv1.HealthRequest, stream grpc.ServerStreamingServer[pluginv1.HealthResponse]) error {
	every := min(max(time.Duration(req.GetIntervalMs())*time.Millisecond, minBeat), maxBeat)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := stream.Send(&pluginv1.HealthResponse{
			UptimeMs: uint64(time.Since(s.started).Milliseconds()),
			Calls:    s.calls.Load(),
			Active:   uint32(max(s.active.Load(), 0)),
		})
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
