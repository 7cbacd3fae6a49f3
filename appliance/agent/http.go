package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Bounds of what an agent may send.
const (
	maxHello  = 64 << 10
	maxReport = 1 << 20
	maxLog    = 256 << 10
	maxLines  = 4096 // of a call; each costs a time stamp too
)

// Handler serves the agents' endpoints, as netboot/job lists them.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /agent/v1/hello", s.serveHello)
	mux.HandleFunc("GET /agent/v1/job", s.withSession(s.serveJob))
	mux.HandleFunc("POST /agent/v1/jobs/{id}/report", s.withSession(s.serveReport))
	mux.HandleFunc("POST /agent/v1/log", s.serveLog)
	return mux
}

func (s *Service) serveHello(w http.ResponseWriter, r *http.Request) {
	from, err := remote(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !s.calls.Allow(from) {
		s.fail(w, r, errTooMany)
		return
	}
	var h job.Hello
	if err := readJSON(w, r, maxHello, &h); err != nil {
		s.fail(w, r, err)
		return
	}
	welcome, err := s.hello(r.Context(), bearer(r), h, from)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, welcome)
}

// withSession lets only a live session through, from where it began.
func (s *Service) withSession(next func(http.ResponseWriter, *http.Request, Boot)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := remote(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		b, err := s.authenticate(r.Context(), bearer(r), from)
		if err != nil {
			s.refuse(w, r, from, err)
			return
		}
		if len(b.Token) > 0 && bytes.Equal(b.Token, b.SessionToken) {
			if err := s.spend(r.Context(), b.Machine, b.SessionToken); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		s.touch(b.Machine, nil)
		next(w, r, b)
	}
}

// refuse answers a call without a session.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, from netip.Addr, err error) {
	if !s.wrong.Allow(from) {
		err = errTooMany
	} else if errors.Is(err, ErrRefused) {
		s.intruder(r.Context(), bearer(r), from)
	}
	s.fail(w, r, err)
}

// spend ends a token's use, unless another has taken its place, which is for
// the machine's next boot.
func (s *Service) spend(ctx context.Context, machine string, token []byte) error {
	return s.change(ctx, machine, func(b *Boot) error {
		if bytes.Equal(b.Token, token) {
			b.Token = nil
		}
		return nil
	})
}

func (s *Service) serveJob(w http.ResponseWriter, r *http.Request, b Boot) {
	j, err := s.next(r.Context(), b, r.URL.Query().Get("after"))
	switch {
	case err != nil:
		s.fail(w, r, err)
	case j == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, j)
	}
}

func (s *Service) serveReport(w http.ResponseWriter, r *http.Request, b Boot) {
	var raw any
	if err := readJSON(w, r, maxReport, &raw); err != nil {
		s.fail(w, r, err)
		return
	}
	rep, err := cleanReport(raw)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply, err := s.report(r.Context(), b, r.PathValue("id"), rep)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, reply)
}

func (s *Service) serveLog(w http.ResponseWriter, r *http.Request) {
	from, err := remote(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !s.calls.Allow(from) {
		s.fail(w, r, errTooMany)
		return
	}
	b, err := s.mayLog(r.Context(), bearer(r), from)
	if err != nil {
		s.refuse(w, r, from, err)
		return
	}
	if len(b.Session) > 0 {
		s.touch(b.Machine, nil)
	}
	lines, more := []string{}, 0
	sc := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxLog))
	sc.Buffer(nil, 2*maxLog) // the body ends before a line can be too long
	for sc.Scan() {
		switch line := sc.Text(); {
		case line == "":
		case len(lines) == maxLines:
			more++
		default:
			lines = append(lines, line)
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("gantry-appliance: %d more lines of this call were left out", more))
	}
	if err := errors.Join(badBody(sc.Err()), s.book.Add(b.Machine, lines...)); err != nil {
		s.fail(w, r, fmt.Errorf("log: %w", err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// errBad says that what an agent sent cannot be read.
var errBad = errors.New("bad request")

// errTooMany says that one address calls too often; agents wait and repeat.
var errTooMany = errors.New("too many calls from this address")

// fail answers with an RFC 9457 problem. What went wrong within the appliance is
// for its log only.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := http.StatusInternalServerError, err.Error()
	switch {
	case errors.Is(err, errTooMany):
		status = http.StatusTooManyRequests
	case errors.Is(err, ErrRefused):
		status = http.StatusForbidden
	case errors.As(err, new(*http.MaxBytesError)):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errBad):
		status = http.StatusBadRequest
	case r.Context().Err() != nil:
		// The agent hung up, or the appliance stops: then the agent is to ask again.
		status = http.StatusServiceUnavailable
	}
	if status >= 500 {
		detail = "the appliance cannot answer now; its log says why"
	}
	if status != http.StatusTooManyRequests { // a flood is not to fill the log
		s.log.Warn("agent's call failed", "path", r.URL.Path, "from", r.RemoteAddr, "status", status, "error", err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The connection may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// badBody makes a body that cannot be read the caller's fault, as repeating it
// would not help.
func badBody(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("body: %w: %w", err, errBad)
}

func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", r.URL.Path, badBody(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s: body goes on after its end: %w", r.URL.Path, errBad)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The connection may be gone; the agent asks again.
	_ = json.NewEncoder(w).Encode(v)
}

func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func remote(r *http.Request) (netip.Addr, error) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("remote address %q: %w", r.RemoteAddr, errBad)
	}
	return ap.Addr().Unmap(), nil
}
