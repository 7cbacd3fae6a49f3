package tftp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// relay is a bad wire: between clients and a server it loses, doubles and
// delays (and so reorders) packets, by a seeded generator. To a client each of
// the server's transfer ports appears as a port of the relay's own.
type relay struct {
	t      *testing.T
	server netip.AddrPort
	listen *net.UDPConn
	wg     sync.WaitGroup
	rates  wire

	mu      sync.Mutex // guards the rest
	rng     *rand.Rand
	lost    int
	doubled int
	delayed int
	open    []*net.UDPConn
}

// wire says how bad: each is a probability per packet.
type wire struct{ lose, double, delay float64 }

func newRelay(t *testing.T, server netip.AddrPort, w wire, seed uint64) *relay {
	t.Helper()
	r := &relay{t: t, server: server, rates: w, rng: rand.New(rand.NewPCG(seed, 1))}
	r.listen = r.socket()
	r.wg.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) socket() *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Error(err)
		return nil
	}
	_ = c.SetReadBuffer(4 << 20)
	r.mu.Lock()
	r.open = append(r.open, c)
	r.mu.Unlock()
	return c
}

func (r *relay) addr() netip.AddrPort { return r.listen.LocalAddr().(*net.UDPAddr).AddrPort() }

// accept takes requests; each gets a socket towards the server.
func (r *relay) accept() {
	buf := make([]byte, 1<<16)
	for {
		n, client, err := r.listen.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		up := r.socket()
		if up == nil {
			return
		}
		r.pass(up, buf[:n], r.server)
		r.wg.Go(func() { r.downwards(up, client) })
	}
}

// downwards carries a transfer's packets from the server to the client.
func (r *relay) downwards(up *net.UDPConn, client netip.AddrPort) {
	faces := map[netip.AddrPort]*net.UDPConn{}
	buf := make([]byte, 1<<16)
	for {
		n, from, err := up.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		face := faces[from]
		if face == nil {
			if face = r.socket(); face == nil {
				return
			}
			faces[from] = face
			r.wg.Go(func() { r.upwards(face, up, from) })
		}
		r.pass(face, buf[:n], client)
	}
}

func (r *relay) upwards(face, up *net.UDPConn, server netip.AddrPort) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := face.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.pass(up, buf[:n], server)
	}
}

// pass sends a packet on, or not, or twice, or later.
func (r *relay) pass(c *net.UDPConn, p []byte, to netip.AddrPort) {
	r.mu.Lock()
	lose, double, late := r.rng.Float64() < r.rates.lose, r.rng.Float64() < r.rates.double, r.rng.Float64() < r.rates.delay
	wait := time.Duration(r.rng.IntN(8000)) * time.Microsecond
	switch {
	case lose:
		r.lost++
	case late:
		r.delayed++
	}
	if double && !lose {
		r.doubled++
	}
	r.mu.Unlock()
	if lose {
		return
	}
	if late {
		held := append([]byte(nil), p...)
		time.AfterFunc(wait, func() { _, _ = c.WriteToUDPAddrPort(held, to) })
	} else {
		_, _ = c.WriteToUDPAddrPort(p, to)
	}
	if double {
		_, _ = c.WriteToUDPAddrPort(p, to)
	}
}

func (r *relay) close() {
	for {
		r.mu.Lock()
		open := r.open
		r.open = nil
		r.mu.Unlock()
		for _, c := range open {
			c.Close()
		}
		if len(open) == 0 {
			break
		}
	}
	r.wg.Wait()
	r.t.Logf("wire: %d lost, %d doubled, %d delayed", r.lost, r.doubled, r.delayed)
}

// serve runs a server over a temporary directory until the test ends.
func serve(t *testing.T, cfg Config, files map[string][]byte) (*Server, string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		write(t, dir, name, data)
	}
	root, err := Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return serveOpener(t, cfg, root), dir
}

func serveOpener(t *testing.T, cfg Config, opener Opener) *Server {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	srv, err := New(cfg, opener, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not return")
		}
		if n := srv.Stats().Active; n != 0 {
			t.Errorf("%d transfers are left", n)
		}
	})
	return srv
}
