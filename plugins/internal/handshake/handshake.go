// Package handshake is what a driver process and its host agree on before they
// speak gantry.plugin.v1: go-plugin's cookie, the protocol's version, and how
// the services are hung on the connection.
package handshake

import (
	"context"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

const (
	// Version is the major version of the contract; drivers of another are not
	// started.
	Version = 1
	// Service is the name under which go-plugin dispenses the connection.
	Service = "gantry.plugin.v1"
	// HostPIDEnv names the environment variable that holds the host's process
	// ID, so that a driver notices its host's death even if it came before
	// main.
	HostPIDEnv = "GANTRY_HOST_PID"
)

// Config is go-plugin's handshake. The cookie is no secret: it keeps a person
// from starting a driver by hand and wondering why nothing happens.
func Config() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{
		ProtocolVersion:  Version,
		MagicCookieKey:   "GANTRY_PLUGIN",
		MagicCookieValue: "gantry.plugin.v1",
	}
}

// Plugin hangs the contract's services on go-plugin's gRPC connection. A
// driver sets Register; a host leaves it nil and is dispensed the
// *grpc.ClientConn.
type Plugin struct {
	goplugin.NetRPCUnsupportedPlugin
	Register func(*grpc.Server)
}

// GRPCServer registers the driver's services.
func (p *Plugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	if p.Register != nil {
		p.Register(s)
	}
	return nil
}

// GRPCClient returns the connection itself.
func (p *Plugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}
