package httpboot

import (
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
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
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

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
