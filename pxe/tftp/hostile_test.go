package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waitFor polls until ok or the deadline.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen in 10 s")
		}
	}
}

// TestConfinement asks for what is not to be had.
func TestConfinement(t *testing.T) {
	srv, dir := serve(t, Config{}, map[string][]byte{"in/f": []byte("inside"), "other": []byte("x")})
	outside := t.TempDir()
	write(t, outside, "secret", []byte("outside"))
	for name, target := range map[string]string{"link": filepath.Join(outside, "secret"), "up": "../" + filepath.Base(outside),
		"in/good": "../other"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		want string // content, or empty with code
		code ErrorCode
	}{
		{"in/f", "inside", 0}, {"/in/f", "inside", 0}, {"//in//f", "inside", 0}, {"in/good", "x", 0}, {"./in/f", "inside", 0},
		{"nothing", "", CodeNotFound}, {"in/f/deeper", "", CodeUndefined},
		{"../" + filepath.Base(outside) + "/secret", "", CodeAccess}, {"in/../../x", "", CodeAccess}, {"..", "", CodeAccess},
		{"in/../other", "", CodeAccess}, {"/../etc/passwd", "", CodeAccess},
		{"/etc/passwd", "", CodeNotFound}, {filepath.Join(outside, "secret"), "", CodeNotFound},
		{"link", "", CodeUndefined}, {"up/secret", "", CodeUndefined},
		{"in", "", CodeAccess}, {".", "", CodeAccess}, {"/", "", CodeAccess}, {"fifo", "", CodeAccess},
		{strings.Repeat("a/", 200), "", CodeNotFound}, {strings.Repeat("a", 300), "", CodeUndefined},
		{"in\\f", "", CodeNotFound}, {"\xff\xfe\n\x1b[2J", "", CodeNotFound},
	} {
		d, err := fetch(srv.Addr(), time.Second, tc.name, "octet")
		var e *Error
		switch {
		case tc.want != "" && (err != nil || string(d.data) != tc.want):
			t.Errorf("%q: %q, %v", tc.name, d.data, err)
		case tc.want == "" && (!errors.As(err, &e) || e.Code != tc.code):
			t.Errorf("%q: %q, %v; want code %d", tc.name, d.data, err, tc.code)
		case tc.want == "" && strings.Contains(e.Message, "/"):
			t.Errorf("%q: the refusal tells of our paths: %q", tc.name, e.Message)
		}
	}
}

// TestOptionAbuse: a hostile option never costs the client its file, nor us
// more than the bounds.
func TestOptionAbuse(t *testing.T) {
	data := content(9000)
	srv, _ := serve(t, Config{Window: 8}, map[string][]byte{"f": data})
	for _, options := range [][]string{
		{"blksize", "0"}, {"blksize", "7"}, {"blksize", "65465"}, {"blksize", ""}, {"windowsize", "0"}, {"windowsize", "65536"},
		{"windowsize", "-1"}, {"timeout", "0"}, {"timeout", "99999"}, {"tsize", "-1"}, {"x", "y"}, {"", ""}, {"windowsize", "65535"},
	} {
		d, err := fetch(srv.Addr(), time.Second, append([]string{"f", "octet"}, options...)...)
		if err != nil || !bytes.Equal(d.data, data) || d.longest != 512 || d.burst > 8 {
			t.Errorf("%q: %d bytes, block %d, window %d, %v", options, len(d.data), d.longest, d.burst, err)
		}
	}
	for _, fields := range [][]string{{"f", "octet", "tsize", "0", "tsize", "0"}, {"f", "octet", "tsize"}} {
		var e *Error
		if _, err := fetch(srv.Addr(), time.Second, fields...); !errors.As(err, &e) || e.Code != CodeNegotiation {
			t.Errorf("%q: %v", fields, err)
		}
	}
}

// raw is a client without manners.
func raw(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	return c
}

func send(t *testing.T, c *net.UDPConn, to netip.AddrPort, p []byte) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(p, to); err != nil {
		t.Fatal(err)
	}
}

func recv(t *testing.T, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 2048)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n], from
}

// TestSpoofedTID: acknowledgements and errors from elsewhere move nothing.
func TestSpoofedTID(t *testing.T) {
	srv, _ := serve(t, Config{}, map[string][]byte{"f": content(2000)})
	c, forger := raw(t), raw(t)
	send(t, c, srv.Addr(), rrq("f", "octet"))
	first, tid := recv(t, c)
	if !bytes.Equal(first[:4], []byte{0, 3, 0, 1}) {
		t.Fatalf("got % x", first[:4])
	}
	for range 10 {
		send(t, forger, tid, []byte{0, 4, 0, 1})
		send(t, forger, tid, []byte{0, 5, 0, 0, 'x', 0})
	}
	send(t, c, tid, []byte{0, 4, 0, 1})
	if second, _ := recv(t, c); !bytes.Equal(second[:4], []byte{0, 3, 0, 2}) {
		t.Fatalf("after forgeries got % x, want block 2", second[:4])
	}
	if s := srv.Stats(); s.Resent != 0 || s.Failed != 0 || s.Active != 1 {
		t.Errorf("%+v", s)
	}
}

// TestGarbage sends noise to both ports; the server answers requests only and
// goes on serving.
func TestGarbage(t *testing.T) {
	data := content(2000)
	srv, _ := serve(t, Config{}, map[string][]byte{"f": data})
	c := raw(t)
	for _, p := range [][]byte{{}, {0}, {0, 3, 0, 1}, {0, 4, 0, 0}, {0, 5, 0, 0}, {0, 6}, {255, 255}, bytes.Repeat([]byte{7}, 60000)} {
		send(t, c, srv.Addr(), p)
	}
	send(t, c, srv.Addr(), []byte("\x00\x02evil\x00octet\x00"))
	if p, _ := recv(t, c); !bytes.HasPrefix(p, []byte{0, 5, 0, 2}) {
		t.Fatalf("a write got %q, want error 2 and nothing before it", p)
	}
	send(t, c, srv.Addr(), rrq("f", "octet"))
	p, tid := recv(t, c)
	for _, noise := range [][]byte{{}, {0}, {0, 4}, {0, 4, 0, 9}, {0, 3, 0, 1, 1}, rrq("f", "octet"), bytes.Repeat([]byte{9}, 5000)} {
		send(t, c, tid, noise)
	}
	send(t, c, tid, []byte{0, 4, 0, 1})
	for p[3] == 1 {
		p, _ = recv(t, c)
	}
	if p[3] != 2 {
		t.Fatalf("after noise got % x", p[:4])
	}
}

// TestBounds: transfers are bounded in total, per client, in retransmissions
// and in time.
func TestBounds(t *testing.T) {
	ended := make(chan Transfer, 16)
	files := map[string][]byte{"f": content(20_000)}
	cfg := Config{Sessions: 3, SessionsPerClient: 2, Timeout: 60 * time.Millisecond, Retries: 3,
		OnTransfer: func(tr Transfer) { ended <- tr }}
	srv, _ := serve(t, cfg, files)
	from := func(host byte) *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 1, host)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		return c
	}
	a, b, c, d, e := from(1), from(1), from(1), from(2), from(3)
	for i, tc := range []struct {
		conn *net.UDPConn
		want string
	}{{a, "\x00\x03\x00\x01"}, {b, "\x00\x03\x00\x01"}, {c, "\x00\x05\x00\x00too many"}, {d, "\x00\x03\x00\x01"}, {e, "\x00\x05\x00\x00server is busy"}} {
		send(t, tc.conn, srv.Addr(), rrq("f", "octet"))
		if p, _ := recv(t, tc.conn); !bytes.HasPrefix(p, []byte(tc.want)) {
			t.Fatalf("request %d: got %q", i, p[:min(40, len(p))])
		}
		send(t, tc.conn, srv.Addr(), rrq("f", "octet")) // repeated: served once
	}
	blocks := 1 // those who fell silent get block 1 again, so often and no more
	for {
		p, _ := recv(t, a)
		if p[1] == opError {
			break
		}
		blocks++
	}
	if blocks != 1+cfg.Retries {
		t.Errorf("block 1 came %d times, want %d", blocks, 1+cfg.Retries)
	}
	for range 3 {
		if tr := <-ended; !errors.Is(tr.Err, errGaveUp) || tr.Resent != cfg.Retries {
			t.Errorf("%+v", tr)
		}
	}
	waitFor(t, func() bool { return srv.Stats().Active == 0 })
	if _, err := fetch(srv.Addr(), time.Second, "f", "octet"); err != nil {
		t.Errorf("after the bounds were reached and left: %v", err)
	}
}

// TestDeadline: a client that acknowledges for ever is cut off.
func TestDeadline(t *testing.T) {
	ended := make(chan Transfer, 1)
	srv, _ := serve(t, Config{Deadline: 300 * time.Millisecond, Timeout: 50 * time.Millisecond, Retries: 1000,
		OnTransfer: func(tr Transfer) { ended <- tr }}, map[string][]byte{"f": content(20_000)})
	c := raw(t)
	send(t, c, srv.Addr(), rrq("f", "octet", "timeout", "1"))
	if tr := <-ended; !errors.Is(tr.Err, errDeadline) || tr.Took > 3*time.Second {
		t.Errorf("%+v", tr)
	}
}

// slowFile blocks in ReadAt beyond its first page until released.
type slowFile struct {
	data    []byte
	release chan struct{}
	closed  *sync.WaitGroup
}

func (f *slowFile) ReadAt(p []byte, off int64) (int, error) {
	if off > 0 {
		<-f.release
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}
func (f *slowFile) Size() int64  { return int64(len(f.data)) }
func (f *slowFile) Close() error { f.closed.Done(); return nil }

// opener answers by name, to see what the Opener's errors become.
type opener struct{ slow *slowFile }

func (o opener) Open(ctx context.Context, name string, peer netip.AddrPort) (File, error) {
	switch name {
	case "slow":
		o.slow.closed.Add(1)
		return o.slow, nil
	case "quick", "lie":
		f := &slowFile{data: content(100_000), release: o.slow.release, closed: o.slow.closed}
		f.closed.Add(1)
		if name == "lie" {
			return liar{f}, nil
		}
		return f, nil
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "own":
		return nil, fmt.Errorf("open: %w", &Error{CodeAccess, "not this machine"})
	}
	return nil, fs.ErrNotExist
}

// liar is shorter than it says.
type liar struct{ *slowFile }

func (l liar) Size() int64 { return l.slowFile.Size() + 100 }

// TestOpener: a file that hangs delays nobody else; what was opened is closed;
// a file that is shorter than it said is never reported as sent.
func TestOpener(t *testing.T) {
	var closed sync.WaitGroup
	o := opener{&slowFile{data: content(1_000_000), release: make(chan struct{}), closed: &closed}}
	srv := serveOpener(t, Config{Loops: 1, OpenTimeout: 100 * time.Millisecond}, o)
	slow := make(chan error, 1)
	go func() {
		d, err := fetch(srv.Addr(), 10*time.Second, "slow", "octet", "blksize", "1024", "windowsize", "8")
		if err == nil && !bytes.Equal(d.data, o.slow.data) {
			err = errors.New("content differs")
		}
		slow <- err
	}()
	waitFor(t, func() bool { return srv.Stats().Active == 1 })
	for range 5 {
		if d, err := fetch(srv.Addr(), time.Second, "quick", "octet"); err != nil || len(d.data) != 100_000 {
			t.Fatalf("beside a hanging file: %d bytes, %v", len(d.data), err)
		}
	}
	for name, want := range map[string]ErrorCode{"hang": CodeUndefined, "own": CodeAccess, "none": CodeNotFound, "lie": CodeUndefined} {
		var e *Error
		if _, err := fetch(srv.Addr(), time.Second, name, "octet"); !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: %v, want code %d", name, err, want)
		}
	}
	close(o.slow.release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	closed.Wait()
}

// TestShutdown ends transfers in all their states.
func TestShutdown(t *testing.T) {
	var closed sync.WaitGroup
	o := opener{&slowFile{data: content(1_000_000), release: make(chan struct{}), closed: &closed}}
	srv, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}, o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	for _, name := range []string{"slow", "quick", "hang"} {
		send(t, raw(t), srv.Addr(), rrq(name, "octet"))
	}
	waitFor(t, func() bool { return srv.Stats().Active == 3 })
	cancel()
	time.AfterFunc(50*time.Millisecond, func() { close(o.slow.release) })
	if err := <-done; err != nil {
		t.Error(err)
	}
	closed.Wait()
	if n := srv.Stats().Active; n != 0 {
		t.Errorf("%d transfers are left", n)
	}
}

func TestConfigIsChecked(t *testing.T) {
	bad := Config{Sessions: -1, Window: 70000, Timeout: -1}
	err := bad.Validate()
	for _, field := range []string{"Sessions", "Window", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if _, err := New(Config{Interface: "no-such-if0"}, opener{}, testLog(t)); err == nil || !strings.Contains(err.Error(), "no-such-if0") {
		t.Errorf("a missing interface: %v", err)
	}
}
