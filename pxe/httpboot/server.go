package httpboot

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Server returns a server for h that a slow or hostile client cannot hold:
// headers are at most 8 KiB and come within 5 s, an idle connection ends
// after a minute, request bodies after 10 s. The time for an answer is bounded per
// piece by the handler (Config.StallTimeout), not as a whole: an image may
// take hours. Serve it on a listener from [Limit].
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           bounded(h),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// bodyTime is how long a request's body may take to come.
const bodyTime = 10 * time.Second

// bounded has request bodies come in time. A server's ReadTimeout would do that
// too, but it stays in force while the request is answered, and ends its context
// when it has passed: in the middle of a long poll, or of an image.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Now().Add(bodyTime))
			r = r.WithContext(r.Context())
			r.Body = &body{ReadCloser: r.Body, c: c}
		}
		next.ServeHTTP(w, r)
	})
}

// body lifts the connection's deadline once it has come whole.
type body struct {
	io.ReadCloser
	c *http.ResponseController
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.c.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Limit bounds the connections of a listener, in total and per client address.
// One beyond a bound is closed at once; iPXE and the netboot agent try again.
func Limit(l net.Listener, total, perClient int) net.Listener {
	return &limitListener{Listener: l, total: total, perClient: perClient, clients: map[netip.Addr]int{}}
}

type limitListener struct {
	net.Listener
	total, perClient int

	mu      sync.Mutex // guards the rest
	open    int
	clients map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ap, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		who := ap.Addr().Unmap()
		if l.enter(who) {
			return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(who) })}, nil
		}
		c.Close()
	}
}

func (l *limitListener) enter(who netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.clients[who] >= l.perClient {
		return false
	}
	l.open++
	l.clients[who]++
	return true
}

func (l *limitListener) leave(who netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.clients[who]--; l.clients[who] == 0 {
		delete(l.clients, who)
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// ReadFrom implements io.ReaderFrom: without it net/http would copy files through
// memory, for the connection inside can have the kernel send them.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
