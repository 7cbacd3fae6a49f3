package tftp

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"testing"
)

// TestCloseAfterServe holds that a deferred Close after Serve is no failure, and
// closes no descriptor that someone else has got meanwhile.
func TestCloseAfterServe(t *testing.T) {
	dir, err := Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Loops: 2}, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	var others []*os.File // they get the lowest numbers that are free
	for range 16 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, f)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close after serving: %v", err)
	}
	for _, f := range others {
		if err := f.Close(); err != nil {
			t.Errorf("another's file was closed: %v", err)
		}
	}
}
