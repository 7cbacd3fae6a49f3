package tftp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pin "github.com/pin/tftp/v3"

	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
)

// sizes are those at which transfers go wrong: around blocks and pages.
func sizes() map[string][]byte {
	files := map[string][]byte{}
	for _, n := range []int{0, 1, 511, 512, 513, 1024, 1468, 1469, pageBytes - 1, pageBytes, pageBytes + 1, 700_001} {
		files[strconv.Itoa(n)] = content(n)
	}
	return files
}

// TestRealClients downloads files of awkward sizes with the clients that
// people have; every byte must be the same.
func TestRealClients(t *testing.T) {
	files := sizes()
	srv, _ := serve(t, Config{}, files)
	host, port := srv.Addr().Addr().String(), strconv.Itoa(int(srv.Addr().Port()))
	command := func(name string, args ...string) func(*testing.T, string, string) {
		return func(t *testing.T, file, to string) {
			args := append([]string(nil), args...)
			for i := range args {
				args[i] = map[string]string{"FILE": file, "TO": to, "URL": "tftp://" + host + ":" + port + "/" + file}[args[i]] + literal(args[i])
			}
			if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
		}
	}
	for _, client := range []struct {
		name string
		get  func(t *testing.T, file, to string)
	}{
		{"curl", command("curl", "-sS", "-o", "TO", "URL")},
		{"curl, blksize 1468", command("curl", "-sS", "--tftp-blksize", "1468", "-o", "TO", "URL")},
		{"curl, no options", command("curl", "-sS", "--tftp-no-options", "-o", "TO", "URL")},
		{"tftp-hpa", command("tftp", "-4", "-m", "binary", host, port, "-c", "get", "FILE", "TO")},
		{"busybox", command("busybox", "tftp", "-g", "-b", "1468", "-r", "FILE", "-l", "TO", host, port)},
		{"pin/tftp", func(t *testing.T, file, to string) { pinGet(t, srv.Addr(), file, to, "octet") }},
	} {
		t.Run(client.name, func(t *testing.T) {
			for name, want := range files {
				to := filepath.Join(t.TempDir(), "got")
				client.get(t, name, to)
				got, err := os.ReadFile(to)
				if err != nil && len(want) > 0 { // some clients make no file for no bytes
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s bytes: %d came, or they differ", name, len(got))
				}
			}
		})
	}
}

// literal is an argument that is not a placeholder.
func literal(arg string) string {
	switch arg {
	case "FILE", "TO", "URL":
		return ""
	}
	return arg
}

func pinGet(t *testing.T, server netip.AddrPort, file, to, mode string) {
	t.Helper()
	c, err := pin.NewClient(server.String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetTimeout(300 * time.Millisecond)
	c.SetRetries(20)
	wt, err := c.Receive(file, mode)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := wt.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNetascii: LF arrives as CR LF and CR as CR NUL, in tftp-hpa's own
// translation back and on the wire.
func TestNetascii(t *testing.T) {
	text := bytes.Repeat([]byte("one\ntwo\rthree\r\n\n"), 300)
	srv, _ := serve(t, Config{}, map[string][]byte{"text": text, "empty": nil})
	var wire []byte
	for _, c := range text {
		switch c {
		case '\n':
			wire = append(wire, '\r', '\n')
		case '\r':
			wire = append(wire, '\r', 0)
		default:
			wire = append(wire, c)
		}
	}
	d, err := fetch(srv.Addr(), time.Second, "text", "netascii", "tsize", "0", "windowsize", "3")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wire, d.data); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"windowsize": "3"}, d.options); diff != "" {
		t.Errorf("options (tsize is unknown before translation): %s", diff)
	}
	to := filepath.Join(t.TempDir(), "got")
	a := srv.Addr()
	out, err := exec.CommandContext(t.Context(), "tftp", "-4", "-m", "ascii", a.Addr().String(), strconv.Itoa(int(a.Port())), "-c", "get", "text", to).CombinedOutput()
	if err != nil {
		t.Fatalf("tftp-hpa: %v\n%s", err, out)
	}
	got, err := os.ReadFile(to)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("tftp-hpa got %d bytes of %d, or they differ (%v)", len(got), len(text), err)
	}
}

// TestNegotiatedOnTheWire asserts what packets really carry, not what was
// configured: the block size that was granted, and windows as long as granted.
func TestNegotiatedOnTheWire(t *testing.T) {
	large := content(3_000_000)
	small := large[:100_000] // enough of them, for tiny blocks
	for _, offload := range []bool{true, false} {
		srv, _ := serve(t, Config{NoSegmentation: !offload}, map[string][]byte{"large": large, "small": small})
		for _, tc := range []struct{ block, window int }{
			{512, 1}, {8, 4}, {1468, 1}, {1468, 4}, {1468, 64}, {1024, 120}, {1432, 7}, {65464, 2}, {8192, 15}, {60000, 1},
		} {
			name, data := "large", large
			if tc.block == 8 {
				name, data = "small", small
			}
			d, err := fetch(srv.Addr(), time.Second, name, "octet", "blksize", strconv.Itoa(tc.block), "windowsize", strconv.Itoa(tc.window), "tsize", "0")
			if err != nil {
				t.Fatalf("%+v: %v", tc, err)
			}
			want := map[string]string{"blksize": strconv.Itoa(tc.block), "windowsize": strconv.Itoa(tc.window), "tsize": strconv.Itoa(len(data))}
			if diff := cmp.Diff(want, d.options); diff != "" {
				t.Errorf("options: %s", diff)
			}
			if d.longest != tc.block || d.burst != tc.window {
				t.Errorf("%+v: longest block %d, longest window %d", tc, d.longest, d.burst)
			}
			if !bytes.Equal(d.data, data) {
				t.Errorf("%+v: content differs", tc)
			}
		}
	}
}

// TestRollover passes block 65535, in lock-step and in windows across it.
func TestRollover(t *testing.T) {
	data := content(34 << 20)
	srv, dir := serve(t, Config{}, map[string][]byte{"big": data})
	for _, window := range []string{"1", "16"} {
		d, err := fetch(srv.Addr(), time.Second, "big", "octet", "windowsize", window)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.data, data) {
			t.Errorf("window %s: content differs", window)
		}
	}
	to := filepath.Join(dir, "got")
	url := fmt.Sprintf("tftp://%v/big", srv.Addr())
	if out, err := exec.CommandContext(t.Context(), "curl", "-sS", "--tftp-blksize", "512", "-o", to, url).CombinedOutput(); err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, data) {
		t.Errorf("curl: content differs (%v)", err)
	}
}

// TestBadWire: everything arrives over a wire that loses, doubles and reorders.
func TestBadWire(t *testing.T) {
	files := map[string][]byte{"f": content(100_001)}
	srv, _ := serve(t, Config{Timeout: 30 * time.Millisecond, Retries: 30}, files)
	for seed := range uint64(3) {
		r := newRelay(t, srv.Addr(), wire{lose: 0.02, double: 0.05, delay: 0.05}, seed)
		for _, window := range []string{"1", "4", "64"} {
			d, err := fetch(r.addr(), 100*time.Millisecond, "f", "octet", "blksize", "1024", "windowsize", window)
			if err != nil {
				t.Fatalf("seed %d window %s: %v", seed, window, err)
			}
			if !bytes.Equal(d.data, files["f"]) {
				t.Errorf("seed %d window %s: content differs", seed, window)
			}
		}
		to := filepath.Join(t.TempDir(), "got")
		pinGet(t, r.addr(), "f", to, "octet")
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, files["f"]) {
			t.Errorf("seed %d pin/tftp: content differs (%v)", seed, err)
		}
		r.mu.Lock()
		if r.lost == 0 || r.doubled == 0 || r.delayed == 0 {
			t.Errorf("the wire was too good: %d lost, %d doubled, %d delayed", r.lost, r.doubled, r.delayed)
		}
		r.mu.Unlock()
	}
}

// TestSorcerersApprentice doubles every packet in both directions: a server
// that answers duplicates would send every block twice and more.
func TestSorcerersApprentice(t *testing.T) {
	data := content(300_000)
	srv, _ := serve(t, Config{Timeout: 2 * time.Second}, map[string][]byte{"f": data})
	r := newRelay(t, srv.Addr(), wire{double: 1}, 1)
	d, err := fetch(r.addr(), 5*time.Second, "f", "octet")
	if err != nil || !bytes.Equal(d.data, data) {
		t.Fatalf("content differs, or %v", err)
	}
	waitFor(t, func() bool { return srv.Stats().Active == 0 })
	if s := srv.Stats(); s.Resent != 0 || s.Completed != 1 {
		t.Errorf("%d blocks were sent again, %d transfers completed; want 0 and 1", s.Resent, s.Completed)
	}
}

// TestSourceAddress: a server on all addresses answers from the one asked.
func TestSourceAddress(t *testing.T) {
	srv, _ := serve(t, Config{Listen: netip.MustParseAddrPort("0.0.0.0:0")}, map[string][]byte{"f": content(5000)})
	asked := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.77"), srv.Addr().Port())
	d, err := fetch(asked, time.Second, "f", "octet", "blksize", "1400")
	if err != nil || d.peer.Addr() != asked.Addr() || d.options["blksize"] != "1400" {
		t.Errorf("from %v with %v, %v", d.peer, d.options, err)
	}
	d, err = fetch(asked, time.Second, "none", "octet")
	if err == nil || d.peer.Addr() != asked.Addr() {
		t.Errorf("refusal from %v, %v", d.peer, err)
	}
}

// TestIPv6 serves over IPv6 too.
func TestIPv6(t *testing.T) {
	data := content(200_000)
	srv, _ := serve(t, Config{Listen: netip.MustParseAddrPort("[::]:0")}, map[string][]byte{"f": data})
	d, err := fetch(netip.AddrPortFrom(netip.IPv6Loopback(), srv.Addr().Port()), time.Second, "f", "octet", "blksize", "1428", "windowsize", "8")
	if err != nil || !bytes.Equal(d.data, data) || d.burst != 8 {
		t.Errorf("window %d, %v, or content differs", d.burst, err)
	}
}

// TestOneFrame: on an Ethernet device the block size is lowered until a packet
// needs no fragments, unless that is asked for; and only the named interface
// is served.
func TestOneFrame(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	run := func(args ...string) {
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
	}
	run("link", "set", "lo", "mtu", "1500")
	files := map[string][]byte{"f": content(400_000)}
	for _, tc := range []struct {
		fragment bool
		ask      string
		want     string
	}{{false, "1468", "1468"}, {false, "1469", "1468"}, {false, "65464", "1468"}, {true, "8192", "8192"}} {
		srv, _ := serve(t, Config{Fragment: tc.fragment, Interface: "lo"}, files)
		d, err := fetch(srv.Addr(), time.Second, "f", "octet", "blksize", tc.ask, "windowsize", "8")
		if err != nil || d.options["blksize"] != tc.want || !bytes.Equal(d.data, files["f"]) {
			t.Errorf("%+v: granted %v, %v", tc, d.options, err)
		}
	}
}
