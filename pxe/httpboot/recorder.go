package httpboot

import (
	"io"
	"net/http"
	"time"
)

// piece is how much is sent at once: the stall timeout counts per piece.
const piece = 1 << 20

// recorder counts what is sent, in pieces that each have their deadline, and
// that wait for the image limiter first if there is one. It keeps the copy
// from a file to the socket inside the kernel (sendfile).
type recorder struct {
	http.ResponseWriter
	access Access
	stall  time.Duration
	wait   func(n int) error // nil: not limited
	size   int               // of a piece
}

// record wraps a handler with deadlines, accounting and the access event.
func (h *handler) record(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, stall: h.cfg.StallTimeout, size: piece,
			access: Access{Client: client(r), Method: r.Method, Path: r.URL.Path, Status: http.StatusOK}}
		defer func() {
			a := rec.access
			a.Took = time.Since(start)
			a.Whole = a.Status == http.StatusOK && r.Method == http.MethodGet && r.Context().Err() == nil
			h.log.Debug("answered", "client", a.Client, "method", a.Method, "path", a.Path, "status", a.Status, "bytes", a.Bytes, "took", a.Took)
			if h.cfg.OnAccess != nil {
				h.cfg.OnAccess(a)
			}
			// The connection's next request starts without our deadline.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		}()
		next(rec, r)
	})
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.access.Status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (done int, err error) {
	for done < len(p) && err == nil {
		n := min(len(p)-done, r.size)
		if err = r.before(n); err != nil {
			break
		}
		n, err = r.ResponseWriter.Write(p[done : done+n])
		done += n
		r.access.Bytes += int64(n)
	}
	return done, err
}

// ReadFrom implements io.ReaderFrom. net/http copies a file with io.CopyN,
// which hands over an io.LimitedReader; the kernel's copy works through one
// such reader only, so that one is taken apart and made anew for each piece.
func (r *recorder) ReadFrom(src io.Reader) (done int64, err error) {
	limit := int64(-1)
	if l, ok := src.(*io.LimitedReader); ok {
		src, limit = l.R, l.N
	}
	for limit != 0 {
		n := int64(r.size)
		if limit > 0 {
			n = min(n, limit)
		}
		if err := r.before(int(n)); err != nil {
			return done, err
		}
		m, err := io.CopyN(r.ResponseWriter, src, n)
		done += m
		r.access.Bytes += m
		if limit > 0 {
			limit -= m
		}
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// before waits until n bytes may be sent, and gives them their time.
func (r *recorder) before(n int) error {
	if r.wait != nil {
		if err := r.wait(n); err != nil {
			return err
		}
	}
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(r.stall))
	return nil
}

// images serves the mounted handler at the configured rate.
func (h *handler) images(next http.Handler) http.HandlerFunc {
	if h.cfg.ImageRate == 0 {
		return next.ServeHTTP
	}
	l := newLimiter(h.cfg.ImageRate)
	return func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.size = l.quantum
			rec.wait = func(n int) error { return l.wait(r.Context(), client(r), n) }
		}
		next.ServeHTTP(w, r)
	}
}
