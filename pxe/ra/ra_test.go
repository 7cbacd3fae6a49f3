package ra

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}

// wire makes a veth pair whose far end has a link-local address at once.
func wire(t *testing.T) {
	t.Helper()
	ip(t, "link", "add", "near", "type", "veth", "peer", "name", "far")
	ip(t, "addr", "add", "fe80::fa/64", "dev", "far", "nodad")
	ip(t, "link", "set", "near", "up")
	ip(t, "link", "set", "far", "up")
}

// asker is a host on the far end that uses the kernel's own ICMPv6, which
// drops what has a wrong checksum.
type asker struct {
	*ipv6.PacketConn
	ifi *net.Interface
}

func newAsker(t *testing.T) asker {
	t.Helper()
	ifi, err := net.InterfaceByName("far")
	if err != nil {
		t.Fatal(err)
	}
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "fe80::fa%far")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := c.IPv6PacketConn()
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := errors.Join(p.SetICMPFilter(&f), p.SetMulticastInterface(ifi), p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagSrc, true)); err != nil {
		t.Fatal(err)
	}
	return asker{p, ifi}
}

// ask solicits with a hop limit and waits a while for an advertisement.
func (a asker) ask(t *testing.T, hops int, wait time.Duration) ([]byte, *ipv6.ControlMessage, net.Addr) {
	t.Helper()
	if err := a.SetMulticastHopLimit(hops); err != nil {
		t.Fatal(err)
	}
	rs := []byte{133, 0, 0, 0, 0, 0, 0, 0} // the kernel fills the checksum in
	rs = append(append(rs, 1, 1), a.ifi.HardwareAddr...)
	if _, err := a.WriteTo(rs, nil, &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: "far"}); err != nil {
		t.Fatal(err)
	}
	_ = a.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, 1500)
	n, cm, from, err := a.ReadFrom(b)
	if err != nil {
		return nil, nil, nil
	}
	return b[:n], cm, from
}

// TestAnswers asks as a kernel does, over a real interface.
func TestAnswers(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	wire(t)
	r, err := New("near", testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	a := newAsker(t)
	near, err := net.InterfaceByName("near")
	if err != nil {
		t.Fatal(err)
	}
	expect := func() {
		t.Helper()
		var b []byte
		var cm *ipv6.ControlMessage
		var from net.Addr
		for end := time.Now().Add(10 * time.Second); b == nil && time.Now().Before(end); {
			b, cm, from = a.ask(t, 255, 300*time.Millisecond)
		}
		if b == nil {
			t.Fatal("no advertisement")
		}
		b[2], b[3] = 0, 0 // the checksum, which the kernel has checked
		want := append([]byte{134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, near.HardwareAddr...)
		if d := cmp.Diff(want, b); d != "" {
			t.Error(d)
		}
		if src := from.(*net.IPAddr).IP; cm.HopLimit != 255 || !src.IsLinkLocalUnicast() || src.IsMulticast() {
			t.Errorf("from %v with hop limit %d", src, cm.HopLimit)
		}
	}
	expect()
	if b, _, _ := a.ask(t, 64, 300*time.Millisecond); b != nil {
		t.Error("a routed solicitation was answered")
	}
	got := 0
	for range 50 {
		if b, _, _ := a.ask(t, 255, 10*time.Millisecond); b != nil {
			got++
		}
	}
	// The burst takes half a second and shares its first second with what was
	// asked before; TestLimit counts exactly.
	if got == 0 || got > 4*perAsker {
		t.Errorf("%d of 50 solicitations in a burst were answered, want at most %d a second, and some", got, perAsker)
	}
	ip(t, "link", "set", "near", "down") // it is there again when the link is
	ip(t, "link", "set", "near", "up")
	expect()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewNamesTheInterface(t *testing.T) {
	for _, name := range []string{"no-such-if0", "lo"} {
		if _, err := New(name, testLog(t)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// frame is a solicitation as iPXE sends it, altered by change.
func frame(change func(f []byte) []byte) []byte {
	src := netip.MustParseAddr("fe80::5054:ff:fe12:3456").As16()
	f := []byte{0x33, 0x33, 0, 0, 0, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255}
	f = append(f, src[:]...)
	f = append(f, net.IPv6linklocalallrouters...)
	f = append(f, 133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56)
	if change != nil {
		f = change(f)
	}
	if len(f) >= 62 {
		f[56], f[57] = 0, 0
		sum := checksum(f[22:54], f[54:])
		f[56], f[57] = byte(sum>>8), byte(sum)
	}
	return f
}

func set(at int, v byte) func([]byte) []byte {
	return func(f []byte) []byte { f[at] = v; return f }
}

func TestParseSolicitation(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"as iPXE's", frame(nil), true},
		{"without options", frame(func(f []byte) []byte { f[19] = 8; return f[:62] }), true},
		{"padded", append(frame(nil), make([]byte, 20)...), true},
		{"from nobody", frame(func(f []byte) []byte { clear(f[22:38]); f[19] = 8; return f[:62] }), true},
		{"from nobody with an address option", frame(func(f []byte) []byte { clear(f[22:38]); return f }), false},
		{"empty", nil, false},
		{"short", frame(nil)[:61], false},
		{"IPv4", frame(set(13, 0)), false},
		{"version", frame(set(14, 0x40)), false},
		{"not ICMPv6", frame(set(20, 17)), false},
		{"routed", frame(set(21, 254)), false},
		{"an advertisement", frame(set(54, 134)), false},
		{"code", frame(set(55, 1)), false},
		{"option of no length", frame(set(63, 0)), false},
		{"option too long", frame(set(63, 2)), false},
		{"longer than the frame", frame(set(19, 24)), false},
		{"from a group's MAC", frame(set(6, 0x33)), false},
		{"from a group", frame(set(22, 0xff)), false},
		{"wrong checksum", func() []byte { f := frame(nil); f[57]++; return f }(), false},
	} {
		s, err := parseSolicitation(tc.frame)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %+v, %v", tc.name, s, err)
		}
	}
}

func FuzzParseSolicitation(f *testing.F) {
	f.Add(frame(nil))
	f.Add(frame(set(63, 2)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSolicitation(b)
		if err != nil {
			return
		}
		a := advertisement(source{mac: [6]byte{2}, ip: netip.MustParseAddr("fe80::1")}, s)
		if checksum(a[22:54], a[54:]) != 0 || len(a) != 78 || [6]byte(a[:6]) != s.mac {
			t.Fatalf("answer % x", a)
		}
	})
}

func TestLimit(t *testing.T) {
	now := time.Unix(100, 0)
	l := newLimit(func() time.Time { return now })
	total := 0
	for m := range 255 {
		for range 10 {
			if l.allow([6]byte{1, 2, 3, 4, 5, byte(m)}) {
				total++
			}
		}
	}
	if total != inTotal || len(l.askers) > inTotal {
		t.Errorf("%d answers in a second, want %d; %d askers kept", total, inTotal, len(l.askers))
	}
	now = now.Add(time.Second)
	if !l.allow([6]byte{9}) {
		t.Error("no answer in the next second")
	}
}
