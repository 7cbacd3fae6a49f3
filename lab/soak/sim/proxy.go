package sim

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// faults is what is wrong between the agent and the appliance.
type faults struct {
	mu     sync.Mutex // guards what follows
	silent time.Time
	lose   int
	double int
	forge  bool
}

func (f *faults) add(o Order) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.Silent > 0 {
		f.silent = time.Now().Add(o.Silent)
	}
	f.lose += o.Lose
	f.double += o.Double
	f.forge = f.forge || o.Forge
}

// next says what is to become of one call.
func (f *faults) next() (silent time.Duration, lose, double bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if silent = time.Until(f.silent); silent > 0 {
		return silent, false, false
	}
	if f.lose > 0 {
		f.lose--
		return 0, true, false
	}
	if f.double > 0 {
		f.double--
		return 0, false, true
	}
	return 0, false, false
}

// toForge says, once, whether a wrong token is to be tried.
func (f *faults) toForge() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	forge := f.forge
	f.forge = false
	return forge
}

// maxCall is far more than any call of the agent's has.
const maxCall = 16 << 20

// bend starts a proxy to server that the agent speaks through, on the loopback,
// and returns its URL.
func (m *machine) bend(server string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: bent{m, server}}
	go func() { _ = s.Serve(l) }() // until stop
	return "http://" + l.Addr().String(), func() { s.Close() }, nil
}

// bent passes calls on, with the machine's faults.
type bent struct {
	m      *machine
	server string
}

// ServeHTTP implements http.Handler.
func (b bent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	silent, lose, double := b.m.faults.next()
	if silent > 0 {
		select {
		case <-time.After(silent):
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxCall))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer, text := b.pass(r, body)
	if double {
		answer, text = b.pass(r, body)
	}
	if lose || answer == nil {
		panic(http.ErrAbortHandler)
	}
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(text) // the agent may be gone
}

// pass calls the appliance once; nil if that failed.
func (b bent) pass(r *http.Request, body []byte) (*http.Response, []byte) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, b.server+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, nil
	}
	req.Header = r.Header.Clone()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxCall))
	if err != nil {
		return nil, nil
	}
	return res, text
}
