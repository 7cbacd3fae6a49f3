package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netns"
)

// wire is a cable between two network namespaces: the server's end srv0 with
// 10.0.0.1/24, the clients' end cli0 without an address.
type wire struct {
	t              *testing.T
	server, client string
}

func newWire(t *testing.T) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces")
	}
	name := fmt.Sprintf("gdhcp-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	w := &wire{t: t, server: name + "s", client: name + "c"}
	for _, ns := range []string{w.server, w.client} {
		w.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	}
	w.run("ip", "-n", w.server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0", "netns", w.client)
	w.run("ip", "-n", w.server, "addr", "add", "10.0.0.1/24", "dev", "srv0")
	w.run("ip", "-n", w.server, "link", "set", "srv0", "up")
	w.run("ip", "-n", w.client, "link", "set", "lo", "up")
	w.run("ip", "-n", w.client, "link", "set", "cli0", "up")
	return w
}

// run runs a program, which has to be installed and to succeed, and returns its
// output.
func (w *wire) run(args ...string) string {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v (Debian packages: iproute2 udhcpc isc-dhcp-client kea-admin)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// asClient runs a program on the clients' end.
func (w *wire) asClient(args ...string) string {
	w.t.Helper()
	return w.run(append([]string{"ip", "netns", "exec", w.client}, args...)...)
}

// within runs fn on a thread of its own inside a namespace. The thread ends
// with it.
func (w *wire) within(ns string, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		h, err := netns.GetFromName(ns)
		if err == nil {
			err = netns.Set(h)
			h.Close()
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// wireConfig is testConfig on srv0, with addresses for many.
func wireConfig() Config {
	cfg := testConfig()
	cfg.Interface = "srv0"
	cfg.Subnets = append(cfg.Subnets[:1:1], Subnet{Prefix: netip.MustParsePrefix("10.64.0.0/16"), Pools: []Range{{ip("10.64.1.0"), ip("10.64.200.255")}}})
	return cfg
}

// serve runs a server on the wire until the test ends, and returns it when it
// is listening.
func (w *wire) serve(cfg Config, oracle Oracle, j Journal, events func(Event)) *Server {
	w.t.Helper()
	s, err := New(w.t.Context(), cfg, oracle, j, events, testLog(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.within(w.server, func() error { return s.Serve(ctx) }) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	})
	w.listening(cfg.Port)
	return s
}

// listening waits until somebody has the server's port.
func (w *wire) listening(port uint16) {
	w.t.Helper()
	if port == 0 {
		port = 67
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Count(w.run("ip", "netns", "exec", w.server, "cat", "/proc/net/udp"), fmt.Sprintf(":%04X ", port)) == 2 {
			return
		}
	}
	w.t.Fatalf("nobody listens on port %d", port)
}

// remake takes the server's interface away and gives it another of its name.
func (w *wire) remake() {
	w.t.Helper()
	w.run("ip", "-n", w.server, "link", "del", "srv0")
	w.run("ip", "-n", w.server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0", "netns", w.client)
	w.run("ip", "-n", w.server, "addr", "add", "10.0.0.1/24", "dev", "srv0")
	w.run("ip", "-n", w.server, "link", "set", "srv0", "up")
	w.run("ip", "-n", w.client, "link", "set", "cli0", "up")
}

// relay is a socket at which the server sees a relay.
type relay struct {
	t    *testing.T
	conn *net.UDPConn
	addr net.IP
}

// relay gives the clients' end an address and speaks from it.
func (w *wire) relay() *relay {
	w.t.Helper()
	w.run("ip", "-n", w.client, "addr", "add", "10.64.0.1/16", "dev", "cli0")
	w.run("ip", "-n", w.client, "route", "add", "10.0.0.0/24", "dev", "cli0")
	w.run("ip", "-n", w.server, "route", "add", "10.64.0.0/16", "dev", "srv0")
	r := &relay{t: w.t, addr: net.IPv4(10, 64, 0, 1)}
	err := w.within(w.client, func() (err error) {
		r.conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: r.addr, Port: 67}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 67})
		if err == nil {
			err = r.conn.SetReadBuffer(4 << 20)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.conn.Close() })
	return r
}

// ask sends a packet and returns its answer, or nil if there is none in time.
func (r *relay) ask(m *dhcpv4.DHCPv4, wait time.Duration) *dhcpv4.DHCPv4 {
	r.t.Helper()
	m.GatewayIPAddr = r.addr
	if _, err := r.conn.Write(m.ToBytes()); err != nil {
		return nil // the server's death comes back as an ICMP error
	}
	deadline := time.Now().Add(wait)
	buf := make([]byte, 2048)
	for time.Now().Before(deadline) {
		_ = r.conn.SetReadDeadline(deadline)
		n, err := r.conn.Read(buf)
		if err != nil {
			continue
		}
		if reply, err := dhcpv4.FromBytes(buf[:n]); err == nil && reply.TransactionID == m.TransactionID {
			return reply
		}
	}
	return nil
}
