package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scripter plans by MAC address.
type scripter func(mac string) (Plan, error)

func (s scripter) Script(_ context.Context, mac net.HardwareAddr, from netip.Addr) (Plan, error) {
	if !from.IsLoopback() {
		return nil, fmt.Errorf("asked from %v", from)
	}
	return s(mac.String())
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// start serves cfg as the appliance does, and returns the base URL.
func start(t *testing.T, cfg Config, s Scripter) string {
	t.Helper()
	h, err := New(cfg, s, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(h, testLog(t))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(Limit(l, 64, 40)) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

type reply struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, method, url string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

func TestScripts(t *testing.T) {
	asked := 0
	base := start(t, Config{}, scripter(func(mac string) (Plan, error) {
		asked++
		switch mac {
		case "52:54:00:00:00:01":
			return LocalDisk{}, nil
		case "52:54:00:00:00:02":
			return NetbootAgent{Kernel: "/k", Args: []string{"a\nb"}}, nil
		}
		return nil, errors.New("store: secret path /var/lib")
	}))
	for _, tc := range []struct {
		path   string
		status int
		want   string
	}{
		{"/boot/52-54-00-00-00-01.ipxe", 200, "sanboot"},
		{"/boot/52-54-00-00-00-02.ipxe", 200, "its boot plan is invalid"},
		{"/boot/52-54-00-00-00-03.ipxe", 200, "the appliance cannot decide now"},
		{"/boot/52:54:00:00:00:01.ipxe", 404, ""}, {"/boot/52-54-00-00-00.ipxe", 404, ""},
		{"/boot/52-54-00-00-00-01", 404, ""}, {"/boot/52-54-00-00-00-0g.ipxe", 404, ""},
		{"/boot/52-54-00-00-00-01-02-03.ipxe", 404, ""}, {"/boot/.ipxe", 404, ""}, {"/boot/", 404, ""},
		{"/boot/%2e%2e%2fetc.ipxe", 404, ""}, {"/boot/52-54-00-00-00-01.ipxe%00", 404, ""}, {"/", 404, ""},
	} {
		r := do(t, "GET", base+tc.path)
		if r.status != tc.status || !strings.Contains(r.body, tc.want) || strings.Contains(r.body, "secret") {
			t.Errorf("%s: %d %q", tc.path, r.status, r.body)
		}
		if r.status == 200 && (!strings.HasPrefix(r.body, "#!ipxe\n") || r.header.Get("Content-Length") == "" || r.header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v %q", tc.path, r.header, r.body)
		}
	}
	if asked != 3 {
		t.Errorf("the scripter was asked %d times, want 3", asked)
	}
	if r := do(t, "HEAD", base+"/boot/52-54-00-00-00-01.ipxe"); r.status != 200 || asked != 3 {
		t.Errorf("HEAD: %d, asked %d times", r.status, asked)
	}
	if r := do(t, "POST", base+"/boot/52-54-00-00-00-01.ipxe"); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.status)
	}
}

// bootFiles makes a directory with a boot file and traps, and opens it.
func bootFiles(t *testing.T, data []byte) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"vmlinuz": data, "sub/f": []byte("deep"), "empty": nil} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func noise(n int) []byte {
	b, rng := make([]byte, n), rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}

func TestFiles(t *testing.T) {
	data := noise(3<<20 + 17)
	var mu sync.Mutex
	var events []Access
	root := bootFiles(t, data)
	base := start(t, Config{Netboot: root.FS(), Loaders: root.FS(), OnAccess: func(a Access) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, a)
	}}, nil)
	whole := do(t, "GET", base+"/boot/netboot/vmlinuz")
	if whole.status != 200 || whole.body != string(data) {
		t.Errorf("GET: %d, %d bytes", whole.status, len(whole.body))
	}
	if r := do(t, "HEAD", base+"/boot/loader/vmlinuz"); r.status != 200 || r.header.Get("Content-Length") != fmt.Sprint(len(data)) || r.body != "" {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
	if r := do(t, "GET", base+"/boot/netboot/vmlinuz", "Range", "bytes=1000000-2999999"); r.status != 206 || r.body != string(data[1000000:3000000]) {
		t.Errorf("range: %d, %d bytes", r.status, len(r.body))
	}
	if r := do(t, "GET", base+"/boot/netboot/vmlinuz", "Range", "bytes=99999999-"); r.status != 416 {
		t.Errorf("range beyond the end: %d", r.status)
	}
	if r := do(t, "GET", base+"/boot/netboot/sub/f"); r.body != "deep" {
		t.Errorf("sub/f: %+v", r)
	}
	if r := do(t, "GET", base+"/boot/netboot/empty"); r.status != 200 || r.body != "" {
		t.Errorf("empty: %+v", r)
	}
	for _, path := range []string{"/boot/netboot/", "/boot/netboot/sub", "/boot/netboot/none", "/boot/netboot/link", "/boot/netboot/fifo",
		"/boot/netboot/%2e%2e/x", "/boot/netboot/..%2fx", "/boot/netboot/sub%00", "/boot/netboot/%2fetc/passwd", "/images/x"} {
		if r := do(t, "GET", base+path); r.status == 200 || strings.Contains(r.body, "root:") {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	first := events[0]
	if first.Path != "/boot/netboot/vmlinuz" || first.Bytes != int64(len(data)) || !first.Whole || first.Took <= 0 || !first.Client.IsLoopback() {
		t.Errorf("event %+v", first)
	}
	if r := events[2]; r.Bytes != 2000000 || r.Whole || r.Status != 206 {
		t.Errorf("event of a range %+v", r)
	}
}

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/boot/52-54-00-12-34-56.ipxe", "/boot/netboot/vmlinuz", "/boot/netboot/../../etc/passwd", "/boot/loader/%2e%2e/x", "/images/", "//boot"} {
		f.Add(p)
	}
	dir := f.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/vmlinuz", []byte("INSIDE"), 0o600), os.WriteFile(filepath.Dir(dir)+"/outside", []byte("OUTSIDE"), 0o600)); err != nil {
		f.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	h, err := New(Config{Netboot: root.FS(), Loaders: root.FS()}, scripter(func(string) (Plan, error) { return LocalDisk{}, nil }), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		req.RemoteAddr = "127.0.0.1:1"
		w := &memory{header: http.Header{}, status: 200}
		h.ServeHTTP(w, req)
		if bytes.Contains(w.body.Bytes(), []byte("OUTSIDE")) || w.status >= 500 {
			t.Fatalf("%q: %d %q", target, w.status, w.body.String())
		}
	})
}

// memory is a response kept in memory.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header         { return m.header }
func (m *memory) WriteHeader(status int)      { m.status = status }
func (m *memory) Write(p []byte) (int, error) { return m.body.Write(p) }

// TestRates: images keep to their rate, each client gets its share however
// many connections it has, and boot files are as quick as ever.
func TestRates(t *testing.T) {
	const rate = 4 << 20
	data := noise(1 << 20)
	root := bootFiles(t, data)
	images := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "image", time.Time{}, bytes.NewReader(data))
	})
	base := start(t, Config{Netboot: root.FS(), Images: images, ImageRate: rate}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	got := map[string]int64{}
	var wg sync.WaitGroup
	began := time.Now()
	download := func(host string) { // over and over, from this address
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
		tr := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
		buf := make([]byte, 32<<10)
		for ctx.Err() == nil {
			req, _ := http.NewRequestWithContext(ctx, "GET", base+"/images/x", nil)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				return
			}
			for err == nil {
				var n int
				n, err = resp.Body.Read(buf)
				mu.Lock()
				got[host] += int64(n)
				mu.Unlock()
			}
			resp.Body.Close()
		}
	}
	for range 15 {
		wg.Go(func() { download("127.0.0.21") })
	}
	wg.Go(func() { download("127.0.0.22") })
	quick := time.Now()
	for range 10 {
		if r := do(t, "GET", base+"/boot/netboot/vmlinuz"); r.body != string(data) {
			t.Fatalf("boot file: %d bytes", len(r.body))
		}
	}
	if took := time.Since(quick); took > time.Second { // 10 MiB: at the images' rate it would take 2.5 s alone
		t.Errorf("boot files took %v beside images", took)
	}
	wg.Wait()
	secs := time.Since(began).Seconds()
	many, one := got["127.0.0.21"], got["127.0.0.22"]
	if total := float64(many+one) / secs; total > rate*1.15 || total < rate*0.5 {
		t.Errorf("images went at %.0f bytes/s, want %d", total, rate)
	}
	if one < many*7/10 {
		t.Errorf("one connection of a client got %d bytes, 15 of another %d; want equal shares", one, many)
	}
}

// TestStalledClient: a client that stops reading is dropped, and so is one
// that sends its headers by the byte.
func TestStalledClient(t *testing.T) {
	done := make(chan Access, 1)
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, err := w.Write(make([]byte, 1<<20)); err == nil; _, err = w.Write(make([]byte, 1<<20)) {
		}
	})
	base := start(t, Config{Images: endless, StallTimeout: 300 * time.Millisecond, OnAccess: func(a Access) { done <- a }}, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /images/x HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case a := <-done:
		if a.Took > 5*time.Second {
			t.Errorf("dropped after %v", a.Took)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a client that does not read is still served")
	}
	srv := Server(http.NotFoundHandler(), testLog(t))
	if srv.ReadHeaderTimeout <= 0 || srv.ReadHeaderTimeout > 10*time.Second || srv.MaxHeaderBytes > 16<<10 || srv.IdleTimeout <= 0 || srv.WriteTimeout != 0 {
		t.Errorf("server bounds: %+v", srv)
	}
}

// TestLimit: connections beyond a bound are closed, and places come back.
func TestLimit(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, 3, 2)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	dial := func(host string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
		c, err := d.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	served := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := c.Read(make([]byte, 4096))
		return n > 0
	}
	a, b := dial("127.0.0.31"), dial("127.0.0.31")
	if !served(a) || !served(b) {
		t.Fatal("connections within the bound are not served")
	}
	if served(dial("127.0.0.31")) {
		t.Error("a third connection of one client is served")
	}
	if !served(dial("127.0.0.32")) {
		t.Error("another client is not served")
	}
	if served(dial("127.0.0.33")) {
		t.Error("a fourth connection in all is served")
	}
	a.Close()
	for end := time.Now().Add(5 * time.Second); !served(dial("127.0.0.31")); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a place did not come back")
		}
	}
}

// TestScriptFlood: who asks without end is told to wait, without a decision.
func TestScriptFlood(t *testing.T) {
	asked := 0
	base := start(t, Config{}, scripter(func(string) (Plan, error) {
		asked++
		return LocalDisk{}, nil
	}))
	var last reply
	for range 10 * scriptBurst {
		last = do(t, "GET", base+"/boot/52-54-00-00-00-01.ipxe")
	}
	if asked >= 10*scriptBurst || last.status != 200 || !strings.Contains(last.body, "too often") || strings.Contains(last.body, "sanboot") {
		t.Errorf("%d decisions; the last answer: %d %q", asked, last.status, last.body)
	}
}
