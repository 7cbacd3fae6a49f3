package httpboot

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener with one connection.
type oneConn struct{ conns chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{} }

// TestTimeBounds: a request's body has to come soon, its answer may take long.
func TestTimeBounds(t *testing.T) {
	answer := func(t *testing.T, send string, h http.HandlerFunc) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			l := oneConn{make(chan net.Conn, 1)}
			l.conns <- far
			srv := Server(h, slog.New(slog.DiscardHandler))
			go func() { _ = srv.Serve(l) }()
			if _, err := io.WriteString(near, send); err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(near), nil)
			if err != nil || r.StatusCode != http.StatusOK {
				t.Errorf("answer: %v, %v", r, err)
			}
			close(l.conns)
			near.Close()
			srv.Close()
		})
	}
	wait := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			http.Error(w, context.Cause(r.Context()).Error(), http.StatusServiceUnavailable)
		case <-time.After(time.Minute):
		}
	}
	t.Run("a long answer", func(t *testing.T) {
		answer(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait)
	})
	t.Run("a long answer to a body", func(t *testing.T) {
		answer(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", func(w http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); err != nil || string(b) != "body" {
				t.Errorf("body %q, %v", b, err)
			}
			wait(w, r)
		})
	})
	t.Run("a body that does not come", func(t *testing.T) {
		answer(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo", func(_ http.ResponseWriter, r *http.Request) {
			start := time.Now()
			if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != bodyTime {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
}

// fileConn is a connection that the kernel could send files on.
type fileConn struct {
	net.Conn
	got io.Reader
}

func (c *fileConn) ReadFrom(r io.Reader) (int64, error) { c.got = r; return 0, syscall.ENOSYS }

// TestLimitKeepsSendfile: what bounds connections does not hide what they can do.
func TestLimitKeepsSendfile(t *testing.T) {
	inner := &fileConn{}
	var conn net.Conn = &limitedConn{Conn: inner}
	file := io.LimitReader(strings.NewReader("image"), 3)
	if _, err := conn.(io.ReaderFrom).ReadFrom(file); !errors.Is(err, syscall.ENOSYS) || inner.got != file {
		t.Errorf("%v, handed on: %v", err, inner.got)
	}
}
