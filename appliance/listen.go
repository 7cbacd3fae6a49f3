package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/gantry-pod/gantry/appliance/api"
)

// listening is an HTTP server with its listener.
type listening struct {
	server   *http.Server
	listener net.Listener
	tls      *tls.Config
}

// run serves until ctx ends; requests in progress get a moment to finish.
func (l *listening) run(ctx context.Context) error {
	l.server.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	listener := l.listener
	if l.tls != nil {
		listener = tls.NewListener(listener, l.tls)
	}
	go func() { done <- l.server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := l.server.Shutdown(sctx); err != nil {
		return l.server.Close()
	}
	return nil
}

// listenAPI opens the API's socket, and its TLS listener if it has one.
func (c *Config) listenAPI(h http.Handler, log *slog.Logger) ([]*listening, error) {
	if err := removeStale(c.API.Socket); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", c.API.Socket)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if err := c.API.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("api: %w", err), l.Close())
	}
	newServer := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), ConnContext: api.UnixContext}
	}
	list := []*listening{{newServer(h), l, nil}}
	t := c.API.TLS
	if t == nil {
		return list, nil
	}
	tokens, err := api.ReadTokens(t.Tokens)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api.tls: %w", err), l.Close())
	}
	tl, err := net.Listen("tcp", t.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api.tls: %w", err), l.Close())
	}
	return append(list, &listening{newServer(tokens.Require(h)), tl,
		&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}), nil
}

// open lets the socket's group use it, which is that of the configuration.
func (a *API) open() error {
	if a.Group != "" {
		gid, err := groupID(a.Group)
		if err != nil {
			return fmt.Errorf("group: %w", err)
		}
		if err := os.Chown(a.Socket, -1, gid); err != nil {
			return fmt.Errorf("group: %w", err)
		}
	}
	return os.Chmod(a.Socket, 0o660)
}

// groupID finds a group by its name, or by its number.
func groupID(group string) (int, error) {
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("%w: make it (groupadd --system %s), or name another", err, group)
	}
	return strconv.Atoi(g.Gid)
}

// removeStale removes the socket of an appliance that was killed; one that is
// in use is an error.
func removeStale(path string) error {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("api: another appliance is listening on %s", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}
