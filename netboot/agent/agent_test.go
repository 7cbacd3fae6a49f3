package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// fake is an appliance with one job, which answers badly every other time.
type fake struct {
	t       *testing.T
	job     job.Job
	calls   atomic.Int64
	cancel  bool
	reports chan job.Report
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.calls.Add(1)%2 == 0 {
		panic(http.ErrAbortHandler) // the link broke
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/job") && r.URL.Query().Get("after") == f.job.ID:
		http.Error(w, `{"title":"no more","detail":"jobs"}`, http.StatusGone)
	case strings.HasSuffix(r.URL.Path, "/job"):
		_ = json.NewEncoder(w).Encode(f.job)
	default:
		var rep job.Report
		if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
			f.t.Error(err)
		}
		f.reports <- rep
		_ = json.NewEncoder(w).Encode(job.Reply{Cancel: f.cancel})
	}
}

// work runs a worker against the fake until that refuses, and returns the
// reports.
func work(t *testing.T, f *fake, run Runner) []job.Report {
	t.Helper()
	f.t, f.reports = t, make(chan job.Report, 1000)
	s := httptest.NewServer(f)
	defer s.Close()
	w := Worker{Client: NewClient(s.URL, "token", quiet), Log: quiet, ReportEvery: 100 * time.Millisecond, Runners: map[job.Kind]Runner{job.Inspect: run}}
	err := w.Run(t.Context())
	var refused *Refused
	if !errors.As(err, &refused) || refused.Status != http.StatusGone {
		t.Fatalf("the worker ended with %v", err)
	}
	close(f.reports)
	var out []job.Report
	for r := range f.reports {
		out = append(out, r)
	}
	return out
}

func last(rs []job.Report) job.Report { return rs[len(rs)-1] }

// Over a link that breaks at every other call the reports arrive in order, with
// heartbeats between, and one final one.
func TestReportsOverABadLink(t *testing.T) {
	rs := work(t, &fake{job: job.Job{ID: "j", Kind: job.Inspect}}, func(ctx context.Context, _ *job.Job, p Phases) (*job.Result, error) {
		err := p.Run(ctx, "write", func(context.Context) (string, error) {
			p.Progress(10, 100)
			time.Sleep(600 * time.Millisecond) // heartbeats are what is tested
			return "ok", nil
		})
		return &job.Result{}, err
	})
	beats := 0
	for i, r := range rs {
		if i > 0 && r.Seq <= rs[i-1].Seq {
			t.Errorf("report %d after %d", r.Seq, rs[i-1].Seq)
		}
		if r.State == job.Running && r.Done == 10 && r.Total == 100 {
			beats++
		}
	}
	if beats == 0 || !last(rs).Final || last(rs).State != job.Done || last(rs).Result == nil {
		t.Errorf("%d heartbeats, last %+v", beats, last(rs))
	}
}

func TestWhatEndsAJob(t *testing.T) {
	wait := func(ctx context.Context, _ *job.Job, p Phases) (*job.Result, error) {
		return nil, p.Run(ctx, "write", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() })
	}
	for _, c := range []struct {
		code string
		f    *fake
		run  Runner
	}{
		{"cancelled", &fake{job: job.Job{ID: "j", Kind: job.Inspect}, cancel: true}, wait},
		{"deadline", &fake{job: job.Job{ID: "j", Kind: job.Inspect, Deadline: time.Now().Add(300 * time.Millisecond)}}, wait},
		{"internal", &fake{job: job.Job{ID: "j", Kind: job.Inspect}}, func(context.Context, *job.Job, Phases) (*job.Result, error) { panic("boom") }},
		{"internal", &fake{job: job.Job{ID: "j", Kind: "dance"}}, wait},
		{"disk-too-small", &fake{job: job.Job{ID: "j", Kind: job.Inspect}}, func(context.Context, *job.Job, Phases) (*job.Result, error) {
			return nil, &job.Problem{Code: "disk-too-small"}
		}},
	} {
		r := last(work(t, c.f, c.run))
		if !r.Final || r.State != job.Failed || r.Problem == nil || r.Problem.Code != c.code {
			t.Errorf("want %s: %+v", c.code, r)
		}
	}
}

func TestParseParams(t *testing.T) {
	p, err := ParseParams("quiet gantry.server=http://10.0.0.1:8080 gantry.machine=m gantry.token=t gantry.bootif=52-54-00-AA-00-01\n")
	if want := (Params{Server: "http://10.0.0.1:8080", Machine: "m", Token: "t", BootIF: "52:54:00:aa:00:01"}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "gantry.server=https://x gantry.machine=m gantry.token=t", "gantry.server=http://x/p gantry.machine=m gantry.token=t", "gantry.server=http://x gantry.token=t", "gantry.server=http://x gantry.machine=m", "gantry.server=http://x gantry.machine=m gantry.token=t gantry.bootif=eth0"} {
		if p, err := ParseParams(bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestLogForgetsTheOldestFirst(t *testing.T) {
	l := newLogBuffer(20)
	for _, s := range []string{"first line\n", "second line\n", "third\n"} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if b, lost := l.take(); string(b) != "second line\nthird\n" || lost != 1 {
		t.Errorf("%q, %d", b, lost)
	}
}
