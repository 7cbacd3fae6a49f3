package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// toAppliance is the target of a forward that leads to the appliance's API, for
// reading only.
const toAppliance = "appliance"

// forwarder passes connections from one host port into the lab.
type forwarder struct {
	Forward
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	log      *slog.Logger
}

// listen takes the host port of a forward.
func (f Forward) listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("forward to %s: %s is in use by another program; choose other ports", f.To, f.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("forward to %s: %w", f.To, err)
	}
	return l, nil
}

// serve accepts until ctx is done, and returns when all connections are over.
func (f *forwarder) serve(ctx context.Context) {
	if f.To == toAppliance {
		f.serveReading(ctx)
		return
	}
	defer context.AfterFunc(ctx, func() { f.listener.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		conns.Go(func() { f.pass(ctx, client) })
	}
}

// serveReading lets through to the appliance's API what only reads: its page,
// metrics and events. Any user and any container of this computer can reach the
// port, and whoever may change things there is root here; so changes go through
// the API's socket, whose mode says who may use it.
func (f *forwarder) serveReading(ctx context.Context) {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "appliance"})
			r.Out.Host = r.In.Host // which the API judges
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dial(ctx) },
		},
		FlushInterval: -1, // events, as they come
		ErrorLog:      slog.NewLogLogger(f.log.Handler(), slog.LevelInfo),
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, `{"title":"Forbidden","status":403,"detail":"%s is for looking only; changes go through the appliance's socket, see: gantry lab status"}`, f.Listen)
				return
			}
			proxy.ServeHTTP(w, r)
		})}
	over := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(over)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(last) != nil { // it waits for what is being answered, which ctx ends
			server.Close()
		}
	})
	_ = server.Serve(f.listener) // until the lab ends
	<-over
}

// pass connects a client with the target until both directions are closed.
func (f *forwarder) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	target, err := f.dial(ctx)
	if err != nil {
		f.log.Info("forward leads nowhere", "listen", f.Listen, "to", f.To, "error", err)
		return
	}
	defer target.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); target.Close() })()
	var back sync.WaitGroup
	back.Go(func() { copyHalf(client, target) })
	copyHalf(target, client)
	back.Wait()
}

// copyHalf copies one direction and passes its end on.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from) // an error ends the direction as an end does
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// target returns how a forward's target is dialled now.
func (l *Lab) target(f Forward) func(ctx context.Context) (net.Conn, error) {
	kind, rest, _ := strings.Cut(f.To, ":")
	switch kind {
	case toAppliance:
		return func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.ApplianceSocket())
		}
	case "machine":
		name, port, _ := strings.Cut(rest, ":")
		return func(ctx context.Context) (net.Conn, error) {
			addr, ok := l.Addr(name)
			if !ok {
				return nil, fmt.Errorf("machine %s has not used an address yet", name)
			}
			return l.Dial(ctx, "tcp", net.JoinHostPort(addr.String(), port))
		}
	}
	return func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx, "tcp", rest) }
}
