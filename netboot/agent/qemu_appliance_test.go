//go:build qemu

package agent

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// testAppliance is the other side of the protocol: it gives the jobs put into
// jobs, and hands out every report.
type testAppliance struct {
	*httptest.Server
	t       *testing.T
	hello   chan job.Hello
	jobs    chan job.Job
	reports chan job.Report

	mu      sync.Mutex // guards log, current and seq
	log     strings.Builder
	current *job.Job
	seq     int64
}

const (
	bootToken    = "boot-token-of-this-test"
	sessionToken = "session-token-of-this-test"
)

func newAppliance(t *testing.T) *testAppliance {
	a := &testAppliance{t: t, hello: make(chan job.Hello, 4), jobs: make(chan job.Job, 8), reports: make(chan job.Report, 1000)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /agent/v1/hello", a.authorised(bootToken, a.serveHello))
	mux.HandleFunc("GET /agent/v1/job", a.authorised(sessionToken, a.serveJob))
	mux.HandleFunc("POST /agent/v1/jobs/{id}/report", a.authorised(sessionToken, a.serveReport))
	mux.HandleFunc("POST /agent/v1/log", a.serveLog)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *testAppliance) authorised(token string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, `{"title":"who are you"}`, http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func (a *testAppliance) serveHello(w http.ResponseWriter, r *http.Request) {
	var h job.Hello
	if err := json.NewDecoder(r.Body).Decode(&h); err != nil {
		a.t.Error(err)
	}
	a.hello <- h
	_ = json.NewEncoder(w).Encode(job.Welcome{Session: sessionToken, ReportEvery: job.Duration(500 * time.Millisecond)})
}

func (a *testAppliance) serveJob(w http.ResponseWriter, r *http.Request) {
	select {
	case j := <-a.jobs:
		a.mu.Lock()
		a.current = &j
		a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(j)
	case <-r.Context().Done():
	case <-time.After(20 * time.Second):
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *testAppliance) serveReport(w http.ResponseWriter, r *http.Request) {
	var rep job.Report
	if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	if rep.Seq <= a.seq && rep.Seq != 1 {
		a.t.Errorf("report %d after %d", rep.Seq, a.seq)
	}
	a.seq = rep.Seq
	if a.current == nil || a.current.ID != r.PathValue("id") {
		a.t.Errorf("report for job %q", r.PathValue("id"))
	}
	a.mu.Unlock()
	a.reports <- rep
	_ = json.NewEncoder(w).Encode(job.Reply{})
}

func (a *testAppliance) serveLog(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.log.Write(b)
	a.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// guestURL is the appliance as a machine behind QEMU's user network sees it.
func (a *testAppliance) guestURL() string {
	_, port, err := net.SplitHostPort(a.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	return "http://10.0.2.2:" + port
}

// do gives a job and returns its final report.
func (a *testAppliance) do(m *machine, j job.Job, within time.Duration) job.Report {
	a.t.Helper()
	j.Deadline = time.Now().Add(within)
	a.jobs <- j
	limit := time.After(within)
	for {
		select {
		case r := <-a.reports:
			a.t.Logf("%6.1fs %s %s %s %d/%d %d B/s %s", m.since(), j.ID, r.Phase, r.State, r.Done, r.Total, r.Rate, r.Message)
			if r.Final {
				return r
			}
		case <-m.exited:
			a.t.Fatalf("job %s: the machine ended:\n%s", j.ID, m.serial())
		case <-limit:
			a.t.Fatalf("job %s did not end within %v:\n%s", j.ID, within, m.serial())
		}
	}
}

// mustDo is do for a job that is to succeed.
func (a *testAppliance) mustDo(m *machine, j job.Job, within time.Duration) *job.Result {
	a.t.Helper()
	r := a.do(m, j, within)
	if r.State != job.Done || r.Problem != nil {
		a.t.Fatalf("job %s: %s, %v\n%s", j.ID, r.State, r.Problem, m.serial())
	}
	return r.Result
}

func (a *testAppliance) logText() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.String()
}
