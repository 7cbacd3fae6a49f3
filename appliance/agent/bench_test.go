package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// The machine of the tests and where it boots from.
const (
	machine1 = "m1"
	mac1     = "52:54:00:00:00:01"
	uuid1    = "11111111-2222-3333-4444-555555555555"
	addr1    = "10.0.0.10:40000"
)

// bench is a service on a real store with two machines in it. It runs inside a
// synctest bubble, so its clock costs nothing.
type bench struct {
	t       *testing.T
	dir     string
	db      *store.DB
	service *Service
	handler http.Handler
	logs    *Logbook

	mu     sync.Mutex // guards alerts
	alerts []string
}

// bubble runs a test with a bench of its own in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		test(t, b)
	})
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.open()
	f, err := asset.ParseFile([]byte("machines: [{name: m1, uuid: " + uuid1 + ", macs: ['" + mac1 + "', '52:54:00:00:00:11']}, {name: m2, macs: ['52:54:00:00:00:02']}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.service.assets.Import(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens the store as a new process would.
func (b *bench) open() {
	b.t.Helper()
	e, err := pebblekv.Open(filepath.Join(b.dir, "store"), pebblekv.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	at, t := asset.NewTables(), NewTables()
	if b.db, err = store.Open(b.t.Context(), e, slog.New(slog.DiscardHandler), append(at.Schemas(), t.Schemas()...)...); err != nil {
		b.t.Fatal(err)
	}
	vault, err := asset.OpenVault(filepath.Join(b.dir, "key"))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.logs, err = NewLogbook(filepath.Join(b.dir, "logs"), time.Now); err != nil {
		b.t.Fatal(err)
	}
	pool := asset.Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.20")}
	assets := asset.NewRegistry(b.db, at, vault, pool, time.Now)
	b.service = New(b.db, t, assets, b.logs, DefaultTimes(), b.alert, slog.New(slog.DiscardHandler), time.Now)
	b.handler = b.service.Handler()
}

func (b *bench) alert(_ context.Context, machine, code, _, _ string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.alerts = append(b.alerts, machine+" "+code)
}

func (b *bench) close() {
	if err := b.db.Close(); err != nil {
		b.t.Error(err)
	}
}

// restart closes the store and opens it again, as an appliance that restarts.
func (b *bench) restart() {
	b.t.Helper()
	b.close()
	b.open()
}

// call makes one HTTP call as the agent at from would.
func (b *bench) call(ctx context.Context, method, path, token, from string, body any) *httptest.ResponseRecorder {
	b.t.Helper()
	var raw []byte
	switch v := body.(type) {
	case nil:
	case string:
		raw = []byte(v)
	default:
		var err error
		if raw, err = json.Marshal(v); err != nil {
			b.t.Fatal(err)
		}
	}
	r := httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(raw))
	r.RemoteAddr = from
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// problem checks that an answer is an RFC 9457 problem that says all of want.
func (b *bench) problem(w *httptest.ResponseRecorder, status int, want ...string) {
	b.t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		b.t.Fatalf("answer %d %q is not a problem: %v", w.Code, w.Body, err)
	}
	if ct := w.Header().Get("Content-Type"); w.Code != status || p.Status != status || p.Title == "" || ct != "application/problem+json" {
		b.t.Fatalf("answered %d %s %s, want problem %d", w.Code, ct, w.Body, status)
	}
	for _, s := range want {
		if !strings.Contains(p.Detail, s) {
			b.t.Errorf("detail %q does not say %q", p.Detail, s)
		}
	}
}

// issue fetches a token as a machine does: while it is told to wait, it waits.
func (b *bench) issue() string {
	b.t.Helper()
	for {
		token, err := b.service.Issue(b.t.Context(), machine1, mac1, netip.MustParseAddrPort(addr1).Addr())
		if err == nil {
			return token
		}
		if !errors.Is(err, ErrBusy) {
			b.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
}

func goodHello() job.Hello {
	return job.Hello{Protocol: job.Version, Agent: "test", Machine: machine1, BootMAC: mac1, UUID: uuid1, MACs: []string{mac1}}
}

// begin boots the agent: token, hello, session.
func (b *bench) begin() (session string) {
	b.t.Helper()
	return b.welcome(b.call(b.t.Context(), "POST", "/agent/v1/hello", b.issue(), addr1, goodHello()))
}

func (b *bench) welcome(w *httptest.ResponseRecorder) (session string) {
	b.t.Helper()
	var welcome job.Welcome
	if err := json.Unmarshal(w.Body.Bytes(), &welcome); err != nil || w.Code != http.StatusOK || welcome.Session == "" {
		b.t.Fatalf("hello answered %d %s, want a session", w.Code, w.Body)
	}
	if welcome.ReportEvery != job.Duration(DefaultTimes().ReportEvery) {
		b.t.Errorf("report every %v", welcome.ReportEvery)
	}
	return welcome.Session
}

// next asks for a job.
func (b *bench) next(session, after string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.call(b.t.Context(), "GET", "/agent/v1/job?after="+after, session, addr1, nil)
}

// gotJob asks for a job and returns its ID, "" for none.
func (b *bench) gotJob(session, after string) string {
	b.t.Helper()
	w := b.next(session, after)
	if w.Code == http.StatusNoContent {
		return ""
	}
	var j job.Job
	if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil || w.Code != http.StatusOK {
		b.t.Fatalf("job answered %d %s", w.Code, w.Body)
	}
	return j.ID
}

// report sends a report and returns the reply.
func (b *bench) report(session, id string, r job.Report) job.Reply {
	b.t.Helper()
	w := b.call(b.t.Context(), "POST", "/agent/v1/jobs/"+id+"/report", session, addr1, r)
	var reply job.Reply
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || w.Code != http.StatusOK {
		b.t.Fatalf("report answered %d %s", w.Code, w.Body)
	}
	return reply
}

// outcomeOf is what Do came to.
type outcomeOf struct {
	result *job.Result
	err    error
	saw    []string
}

// do runs Do in the background.
func (b *bench) do(ctx context.Context, j job.Job) <-chan outcomeOf {
	c := make(chan outcomeOf, 1)
	s := b.service
	go func() {
		var o outcomeOf
		o.result, o.err = s.Do(ctx, machine1, j, func(r job.Report) { o.saw = append(o.saw, r.Phase) })
		c <- o
	}()
	return c
}
