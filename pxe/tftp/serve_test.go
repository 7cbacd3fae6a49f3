package tftp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
)

// TestHeld: what is asked for again comes from memory, until the file changes
// in any way; a file that was changed just now is not held.
func TestHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put := func(data string, age time.Duration) {
		t.Helper()
		when := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte(data), 0o644), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Dir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	read := func(f File) string {
		t.Helper()
		b := make([]byte, f.Size())
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	open := func(want string, now bool) {
		t.Helper()
		if f, ok := root.OpenNow("/f", netip.AddrPort{}); ok != now || ok && read(f) != want {
			t.Errorf("at hand: %v, want %v with %q", ok, now, want)
		}
		f, err := root.Open(t.Context(), "f", netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := read(f); got != want {
			t.Errorf("opened: %q, want %q", got, want)
		}
	}
	put("old", time.Hour)
	open("old", false)
	open("old", true)
	put("new", time.Minute) // as long as the old one
	open("new", false)
	open("new", true)
	put("fresh", 0)
	open("fresh", false)
	open("fresh", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := root.OpenNow("f", netip.AddrPort{}); ok {
		t.Error("a file that was removed is at hand")
	}
	if _, ok := root.OpenNow("../f", netip.AddrPort{}); ok {
		t.Error("a name leads out of the directory")
	}
}

// TestHeldBounds: files beyond the bounds are read from the disk.
func TestHeldBounds(t *testing.T) {
	var h held
	dir, now := t.TempDir(), time.Now().Add(time.Hour)
	keep := func(name string, size int64) *kept {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return h.keep(name, f, info, now)
	}
	if keep("large", heldFile+1) != nil {
		t.Error("a file beyond the bound is held")
	}
	for i := range heldTotal/heldFile + 1 {
		if keep(string(rune('a'+i)), heldFile) == nil {
			t.Error("a file within the bound is not held")
		}
		if h.bytes > heldTotal || h.bytes != len(h.files)*heldFile {
			t.Fatalf("%d bytes held in %d files", h.bytes, len(h.files))
		}
	}
	if keep("empty", 0) == nil {
		t.Error("an empty file is not held")
	}
}

// TestServeAgain: a server that has ended can be started again at its address.
func TestServeAgain(t *testing.T) {
	data := content(3000)
	root := dirOf(t, map[string][]byte{"f": data})
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}, root, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx) }()
		d, err := fetch(s.Addr(), time.Second, "f", "octet")
		if err != nil || !bytes.Equal(d.data, data) {
			t.Errorf("%v, or content differs", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// TestInterfaceMadeAnew: a server whose interface is not the one any more that
// its socket is bound to says so, and serves the new one when it is started
// again.
func TestInterfaceMadeAnew(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	ip := func(args string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	plug := func() {
		ip("link add pod0 type veth peer name pod1")
		ip("addr add 10.66.0.1/24 dev pod0")
		ip("link set pod0 up")
		ip("link set pod1 up")
	}
	plug()
	root := dirOf(t, map[string][]byte{"f": content(3000)})
	s, err := New(Config{Listen: netip.MustParseAddrPort("10.66.0.1:69"), Interface: "pod0"}, root, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first, err := net.InterfaceByName("pod0")
	if err != nil {
		t.Fatal(err)
	}
	ip("link del pod0")
	plug()
	if again, err := net.InterfaceByName("pod0"); err != nil || again.Index == first.Index {
		t.Fatalf("the kernel gave the same number again: %v", err)
	}
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "pod0") {
		t.Fatalf("serving an interface that was made anew: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	waitFor(t, func() bool { return s.Stats().Active == 0 && listening(t, "10.66.0.1:69") })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// listening reports whether a socket has the address.
func listening(t *testing.T, addr string) bool {
	out, err := exec.CommandContext(t.Context(), "ss", "-Hlun").CombinedOutput()
	if err != nil {
		t.Fatalf("ss: %v %s", err, out)
	}
	host, port, _ := strings.Cut(addr, ":")
	return strings.Contains(string(out), host+"%pod0:"+port)
}

// TestTimeoutOfNobody: the interval that a client asks for counts once it has
// answered, so that requests in the names of absent clients end soon.
func TestTimeoutOfNobody(t *testing.T) {
	ended := make(chan Transfer, 1)
	srv, _ := serve(t, Config{Timeout: 20 * time.Millisecond, Retries: 2, OnTransfer: func(tr Transfer) { ended <- tr }},
		map[string][]byte{"f": content(3000)})
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, srv.Addr(), rrq("f", "octet", "timeout", "255"))
	select {
	case tr := <-ended:
		if !errors.Is(tr.Err, errGaveUp) {
			t.Errorf("ended with %v", tr.Err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the session is still held")
	}
}

// dirOf is a directory to serve with the files.
func dirOf(t *testing.T, files map[string][]byte) *Root {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		write(t, dir, name, data)
	}
	root, err := Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// TestWaiter: news that is there ends the wait; when none came in time the next
// wait sleeps at once.
func TestWaiter(t *testing.T) {
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}, dirOf(t, nil), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := newLoop(s)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	w, events := waiter{epoll: l.epoll}, make([]unix.EpollEvent, 4)
	l.rouse()
	for range 100 { // one may be slow on a busy machine
		if n, err := w.wait(events, 1000); n != 1 || err != nil {
			t.Fatalf("%d events, %v", n, err)
		}
		if w.spin {
			break
		}
	}
	if !w.spin {
		t.Error("answers at once do not make it ask again at once")
	}
	l.takeEvents()
	if n, err := w.wait(events, 1); n != 0 || err != nil || w.spin {
		t.Errorf("without news: %d events, %v, goes on asking: %v", n, err, w.spin)
	}
}
