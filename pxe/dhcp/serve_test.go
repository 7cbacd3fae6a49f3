package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// storeJournal is a journal on a real store in dir.
func storeJournal(t *testing.T, dir string) Journal {
	t.Helper()
	engine, err := pebblekv.Open(dir, pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), engine, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	raw, err := db.Raw("dhcp")
	if err != nil {
		t.Fatal(err)
	}
	return NewStoreJournal(raw)
}

// TestClients has the field's clients get an address over a wire.
func TestClients(t *testing.T) {
	w := newWire(t)
	oracle := &known{hosts: map[MAC]Reservation{}, want: map[MAC]boot.Want{}}
	events := make(chan Event, 4096)
	s := w.serve(wireConfig(), oracle, storeJournal(t, t.TempDir()), func(e Event) { events <- e })
	cli := w.mac()

	t.Run("udhcpc", func(t *testing.T) {
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1 $ip $mask $router $domain\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		out := w.asClient("udhcpc", "-i", "cli0", "-n", "-q", "-f", "-s", script)
		if !strings.Contains(out, "bound 10.0.0.100 24 10.0.0.1 pod.example") {
			t.Errorf("udhcpc said:\n%s", out)
		}
	})
	t.Run("dhclient", func(t *testing.T) {
		dir := t.TempDir()
		leases := filepath.Join(dir, "leases")
		w.asClient("dhclient", "-4", "-1", "-v", "-cf", "/dev/null", "-sf", "/bin/true", "-lf", leases, "-pf", filepath.Join(dir, "pid"), "cli0")
		out, err := os.ReadFile(leases)
		if err != nil || !strings.Contains(string(out), "fixed-address 10.0.0.100;") {
			t.Errorf("dhclient's leases: %v\n%s", err, out)
		}
		w.asClient("dhclient", "-4", "-r", "-cf", "/dev/null", "-sf", "/bin/true", "-lf", leases, "-pf", filepath.Join(dir, "pid"), "cli0")
	})
	t.Run("nclient4", func(t *testing.T) {
		var client *nclient4.Client
		if err := w.within(w.client, func() (err error) {
			client, err = nclient4.New("cli0", nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(5))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		lease, err := client.Request(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := lease.ACK.YourIPAddr.String(); got != "10.0.0.100" {
			t.Errorf("got %s, want the address of before", got)
		}
		l, ok := s.Lease(cli)
		if !ok || l.Addr != ip("10.0.0.100") || l.State != Bound {
			t.Errorf("Lease = %+v, %v", l, ok)
		}
	})
	t.Run("perfdhcp by broadcast", func(t *testing.T) {
		w.run("ip", "-n", w.client, "addr", "add", "10.0.0.200/24", "brd", "+", "dev", "cli0")
		out := w.asClient("perfdhcp", "-4", "-l", "cli0", "-B", "-r", "20", "-R", "8", "-n", "8", "-W", "1000000", "-u")
		checkPerfdhcp(t, out)
	})
	seen := map[EventKind]bool{}
	for len(events) > 0 {
		e := <-events
		seen[e.Kind] = true
		if e.Kind == Acknowledged && (e.Subnet != netip.MustParsePrefix("10.0.0.0/24") || !e.Addr.Is4()) {
			t.Errorf("event %+v", e)
		}
	}
	if !seen[Offered] || !seen[Acknowledged] {
		t.Errorf("kinds of events seen: %v", seen)
	}
}

// TestReleaseOnTheWire is apart from the rest as the client needs its address.
func TestReleaseOnTheWire(t *testing.T) {
	w := newWire(t)
	s := w.serve(wireConfig(), &known{}, newMemory(), nil)
	r := w.relay()
	p := &pod{t: t}
	offer := p.wantType(r.ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover), 5*time.Second), offerT)
	p.wantType(r.ask(p.request(mac(1), offer), 5*time.Second), ackT)
	r.ask(p.packet(mac(1), dhcpv4.MessageTypeRelease, withServer("10.0.0.1"), withCiaddr(offer.YourIPAddr.String())), time.Millisecond)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if l, ok := s.Lease(mac(1)); ok && l.State == Released {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not released")
		}
	}
}

// TestRelayedLoad is perfdhcp as a relay: many clients, each with an address of
// its own.
func TestRelayedLoad(t *testing.T) {
	w := newWire(t)
	s := w.serve(wireConfig(), &known{}, storeJournal(t, t.TempDir()), nil)
	r := w.relay()
	r.conn.Close() // perfdhcp has the port
	out := w.asClient("perfdhcp", "-4", "-l", "10.64.0.1", "-r", "500", "-R", "2000", "-n", "1000", "-W", "2000000", "-u", "10.0.0.1")
	checkPerfdhcp(t, out)
	n, addrs := 0, map[netip.Addr]bool{}
	for l := range s.Leases() {
		n++
		addrs[l.Addr] = true
	}
	if n < 900 || len(addrs) != n {
		t.Errorf("%d leases of %d addresses", n, len(addrs))
	}
}

// checkPerfdhcp wants perfdhcp to have seen no address twice, and few packets
// unanswered: it counts as lost what comes late on a busy machine.
func checkPerfdhcp(t *testing.T, out string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?:non unique addresses|rejected leases): (\d+)`).FindAllStringSubmatch(out, -1) {
		if m[1] != "0" {
			t.Errorf("%s in\n%s", m[0], out)
		}
	}
	ratios := regexp.MustCompile(`drops ratio: ([\d.]+) %`).FindAllStringSubmatch(out, -1)
	if len(ratios) != 2 {
		t.Fatalf("perfdhcp said:\n%s", out)
	}
	for _, m := range ratios {
		if lost, err := strconv.ParseFloat(m[1], 64); err != nil || lost > 10 {
			t.Errorf("%s%% lost:\n%s", m[1], out)
		}
	}
}

// TestBurst has more packets come at once than a batch holds, of all kinds of
// answer: each is answered.
func TestBurst(t *testing.T) {
	w := newWire(t)
	w.serve(wireConfig(), &known{}, newMemory(), nil)
	r := w.relay()
	p := &pod{t: t}
	waiting := map[dhcpv4.TransactionID]bool{}
	for i := range 1000 {
		m := MAC{2, 0, 0, 2, byte(i >> 8), byte(i)}
		packet := p.packet(m, dhcpv4.MessageTypeDiscover)
		switch i % 3 {
		case 1:
			packet = p.packet(m, requestT, withRequested("192.168.0.1"))
		case 2:
			packet = p.packet(m, requestT, withRequested(netip.AddrFrom4([4]byte{10, 64, 100, byte(i / 4)}).String()))
		}
		packet.GatewayIPAddr = r.addr
		waiting[packet.TransactionID] = true
		if _, err := r.conn.Write(packet.ToBytes()); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 2048)
	_ = r.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for len(waiting) > 0 {
		n, err := r.conn.Read(buf)
		if err != nil {
			t.Fatalf("%d of 1000 not answered: %v", len(waiting), err)
		}
		reply, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		delete(waiting, reply.TransactionID)
	}
}

// TestTwoMachinesWithOneMAC get one address: there is no telling them apart. The
// one that notices declines, and nobody is given the address for a while.
func TestTwoMachinesWithOneMAC(t *testing.T) {
	w := newWire(t)
	w.serve(wireConfig(), &known{}, newMemory(), nil)
	r := w.relay()
	p := &pod{t: t}
	twin := dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{0, 't', 'w', 'i', 'n'}))
	one := p.wantType(r.ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover), 5*time.Second), offerT)
	p.wantType(r.ask(p.request(mac(1), one), 5*time.Second), ackT)
	two := p.wantType(r.ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover, twin), 5*time.Second), offerT)
	p.wantType(r.ask(p.request(mac(1), two, twin), 5*time.Second), ackT)
	if !one.YourIPAddr.Equal(two.YourIPAddr) {
		t.Fatalf("one MAC has %v and %v", one.YourIPAddr, two.YourIPAddr)
	}
	r.ask(p.packet(mac(1), dhcpv4.MessageTypeDecline, twin, withServer("10.0.0.1"), withRequested(two.YourIPAddr.String())), time.Millisecond)
	three := p.wantType(r.ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover, twin), 5*time.Second), offerT)
	if three.YourIPAddr.Equal(two.YourIPAddr) {
		t.Error("the declined address was offered again")
	}
}

// TestInterfaceMadeAnew: sockets that are bound to an interface hear nothing of
// its successor, and are not told. Serve ends, so that it is called again.
func TestInterfaceMadeAnew(t *testing.T) {
	w := newWire(t)
	s, err := New(t.Context(), wireConfig(), &known{}, newMemory(), nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	serve := func() chan error {
		ended := make(chan error, 1)
		go func() { ended <- w.within(w.server, func() error { return s.Serve(ctx) }) }()
		w.listening(67)
		return ended
	}
	ended := serve()
	w.remake()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "interface srv0") {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Serve goes on, on an interface that is gone")
	}
	ended = serve()
	p := &pod{t: t}
	p.wantType(w.relay().ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover), 5*time.Second), offerT)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestProxyAnswersFromItsPort: who asked the boot server's port takes no answer
// from another.
func TestProxyAnswersFromItsPort(t *testing.T) {
	w := newWire(t)
	w.serve(Config{Interface: "srv0", Addr: ip("10.0.0.1"), Proxy: true}, &known{want: map[MAC]boot.Want{mac(1): boot.WantScript}}, newMemory(), nil)
	w.run("ip", "-n", w.client, "addr", "add", "10.0.0.77/24", "dev", "cli0")
	var conn *net.UDPConn
	if err := w.within(w.client, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 77), Port: 4011})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &pod{t: t}
	ask := p.packet(mac(1), requestT, withCiaddr("10.0.0.77"), withClass("PXEClient:Arch:00000:UNDI:002001", iana.INTEL_X86PC))
	if _, err := conn.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4011}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 2048))
	if err != nil || from.Port() != 4011 {
		t.Errorf("answered from %v, %v; want port 4011", from, err)
	}
}

// TestOwedRecords: what a failed commit held is not forgotten, as no client says
// it again.
func TestOwedRecords(t *testing.T) {
	disk := newMemory()
	s, err := New(t.Context(), testConfig(), &known{}, disk, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	declined := Record{Addr: ip("10.0.0.100"), MAC: mac(1), State: Declined, Expiry: epoch}
	bound := Record{Addr: ip("10.0.0.101"), MAC: mac(1), State: Bound, Expiry: epoch}
	disk.fail = errors.New("disk full")
	if err := s.store(t.Context(), []Record{declined, {Addr: bound.Addr, MAC: mac(2), State: Released}}); err == nil || s.Healthy() == nil {
		t.Fatalf("stored on a full disk: %v, healthy: %v", err, s.Healthy())
	}
	for range 2 * maxOwed / maxPending {
		if s.store(t.Context(), make([]Record, maxPending)) == nil || len(s.owed) > maxOwed {
			t.Fatalf("%d records are owed", len(s.owed))
		}
	}
	s.owed = s.owed[:0]
	_ = s.store(t.Context(), []Record{declined, {Addr: bound.Addr, MAC: mac(2), State: Released}})
	disk.fail = nil
	if err := s.store(t.Context(), []Record{bound}); err != nil || s.Healthy() != nil || len(s.owed) != 0 {
		t.Fatalf("%v, healthy: %v, owed: %v", err, s.Healthy(), s.owed)
	}
	if disk.records[declined.Addr] != declined || disk.records[bound.Addr] != bound {
		t.Errorf("stored: %v", disk.records)
	}
}

// TestStoredAgain: once the disk has room the server is well again, and what is
// owed is stored, though no client asks.
func TestStoredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemory()
		s, err := New(t.Context(), testConfig(), &known{}, disk, nil, testLog(t))
		if err != nil {
			t.Fatal(err)
		}
		disk.fail = errors.New("disk full")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.commitLoop(t.Context(), &sockets{}, func(error) {})
		}()
		declined := Record{Addr: ip("10.0.0.100"), MAC: mac(1), State: Declined, Expiry: epoch}
		d := decision{}
		d.record(declined)
		s.pending.add(&d, nil)
		s.pending.ready()
		synctest.Wait()
		if s.Healthy() == nil {
			t.Fatal("stored on a full disk")
		}
		disk.mu.Lock()
		disk.fail = nil
		disk.mu.Unlock()
		time.Sleep(2 * storeAgain) // the bubble's time
		synctest.Wait()
		if s.Healthy() != nil || disk.records[declined.Addr] != declined {
			t.Errorf("healthy: %v, stored: %v", s.Healthy(), disk.records)
		}
		s.pending.close()
		<-ended
	})
}

// TestNothingIsAcknowledgedUnsynced has the journal fail.
func TestNothingIsAcknowledgedUnsynced(t *testing.T) {
	w := newWire(t)
	disk := newMemory()
	disk.fail = errors.New("disk full")
	s := w.serve(wireConfig(), &known{}, disk, nil)
	r := w.relay()
	p := &pod{t: t}
	offer := p.wantType(r.ask(p.packet(mac(1), dhcpv4.MessageTypeDiscover), 5*time.Second), offerT)
	request := p.request(mac(1), offer)
	if got := r.ask(request, 300*time.Millisecond); got != nil {
		t.Fatalf("acknowledged without being stored: %v", got)
	}
	if s.Stats().Unsynced.Load() == 0 {
		t.Error("not counted")
	}
	disk.mu.Lock()
	disk.fail = nil
	disk.mu.Unlock()
	p.wantType(r.ask(request, 5*time.Second), ackT)
}

// TestKill kills the server without warning again and again under load: each
// lease that was acknowledged is known to the next one, and no address is
// acknowledged twice.
func TestKill(t *testing.T) {
	w := newWire(t)
	r := w.relay()
	dir := t.TempDir()
	binary := filepath.Join(dir, "server")
	w.run("go", "build", "-o", binary, "./bench/server")
	p := &pod{t: t}
	addrs, owner := map[MAC]string{}, map[string]MAC{}
	client := 0
	for round := range 4 {
		cmd := exec.Command("ip", "netns", "exec", w.server, binary, "-dir", filepath.Join(dir, "state"), "-interface", "srv0", "-addr", "10.0.0.1",
			"-subnet", "10.64.0.0/16", "-pool", "10.64.1.0-10.64.200.255")
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.listening(67)
		for m, a := range addrs {
			ack := p.wantType(r.ask(p.packet(m, requestT, withRequested(a)), 5*time.Second), ackT)
			if got := ack.YourIPAddr.String(); got != a {
				t.Fatalf("round %d: %v had %s and is given %s", round, m, a, got)
			}
		}
		// The kill comes while exchanges are under way, at some moment that the
		// scheduler chooses.
		time.AfterFunc(time.Duration(200+100*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for {
			client++
			m := MAC{2, 0, 0, 1, byte(client >> 8), byte(client)}
			offer := r.ask(p.packet(m, dhcpv4.MessageTypeDiscover), 300*time.Millisecond)
			if offer == nil {
				break
			}
			ack := r.ask(p.request(m, offer), 300*time.Millisecond)
			if ack == nil {
				break
			}
			p.wantType(ack, ackT)
			a := ack.YourIPAddr.String()
			if other, taken := owner[a]; taken {
				t.Fatalf("round %d: %s is acknowledged to %v and to %v", round, a, other, m)
			}
			addrs[m], owner[a] = a, m
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the server ended by itself")
		}
	}
	if len(addrs) < 20 {
		t.Errorf("only %d leases in all: the test has shown little", len(addrs))
	}
	t.Logf("%d leases over 4 kills", len(addrs))
}

// mac returns the address of the clients' end.
func (w *wire) mac() MAC {
	var m net.HardwareAddr
	if err := w.within(w.client, func() error {
		ifi, err := net.InterfaceByName("cli0")
		if err == nil {
			m = ifi.HardwareAddr
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return MAC(m)
}

func TestSecondServerIsRefused(t *testing.T) {
	w := newWire(t)
	cfg := wireConfig()
	w.serve(cfg, &known{}, newMemory(), nil)
	s, err := New(t.Context(), cfg, &known{}, newMemory(), nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	err = w.within(w.server, func() error { return s.Serve(t.Context()) })
	if err == nil || !strings.Contains(err.Error(), "UDP port 67 on srv0") {
		t.Errorf("a second server on the port: %v", err)
	}
}
