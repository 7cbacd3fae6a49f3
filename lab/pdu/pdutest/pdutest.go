// Package pdutest runs emulated PDUs for tests of what speaks to them.
package pdutest

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/gantry-pod/gantry/lab/pdu"
)

// noPower is for outlets that feed nothing.
type noPower struct{}

func (noPower) Set(int, bool) {}

// Start runs a PDU on the loopback until the test ends, and returns it with its
// address.
func Start(t testing.TB, cfg pdu.Config) (*pdu.Agent, string) {
	t.Helper()
	agent, err := pdu.New(cfg, noPower{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return agent, conn.LocalAddr().String()
}
