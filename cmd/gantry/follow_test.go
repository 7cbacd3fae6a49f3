package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/change"
)

var t0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// appliance serves an API on a Unix socket, where the command finds it.
func appliance(t *testing.T, h http.Handler) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	serveUnix(t, path, h)
	t.Setenv("GANTRY_SOCKET", path)
	t.Setenv("GANTRY_SERVER", "")
}

// request is a deployment as it stands after some seconds.
func request(status change.Status, steps ...change.Step) api.Request {
	return api.Request{Request: change.Request{ID: "r1", Kind: change.Deploy, Machine: "m1", Status: status, Created: t0, Ended: t0.Add(30 * time.Second), Steps: steps}}
}

func doneStep(name string, from, to int) change.Step {
	return change.Step{Name: name, Status: change.Done, Attempt: 1, Began: t0.Add(time.Duration(from) * time.Second), Ended: t0.Add(time.Duration(to) * time.Second)}
}

// events answers a deploy and then streams what each connection is given.
func events(t *testing.T, streams ...[]api.Request) http.Handler {
	var n atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/machines/m1/deploy", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(request(change.Queued))
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		if i >= len(streams) || r.URL.Query().Get("machine") != "m1" {
			t.Errorf("connection %d to %s", i, r.URL)
			return
		}
		fmt.Fprint(w, ": still here\n\nevent: machine\ndata: {\"id\":\"m1\"}\n\n")
		for _, q := range streams[i] {
			b, err := json.Marshal(q)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "event: request\ndata: %s\n\n", b)
		}
	})
	return mux
}

const key = "ssh-ed25519 AAAA me"

// TestFollow shows each step once, over a stream that breaks and without a
// terminal, and ends as the request does.
func TestFollow(t *testing.T) {
	other := request(change.Failed)
	other.ID = "r0"
	boot, image := doneStep("boot", 0, 10), doneStep("image", 10, 25)
	image.Phases = []change.Phase{{Name: "write", Began: t0.Add(10 * time.Second), Ended: t0.Add(20 * time.Second)}}
	appliance(t, events(t,
		[]api.Request{other, request(change.Running, boot)},
		[]api.Request{request(change.Running, boot, image), request(change.Done, boot, image)}))
	code, stdout, stderr := gantry(t, "machine", "deploy", "m1", "--image", "debian", "--ssh-key", key)
	want := `    10.0 s  m1: boot                            10.0 s  
    20.0 s  m1: image: write                    10.0 s  
    25.0 s  m1: image                           15.0 s  
deploy of machine m1: done in 30.0 s
`
	if d := cmp.Diff(want, stderr); d != "" || code != exitOK || stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr:\n%s", code, stdout, d)
	}
}

func TestFollowFailure(t *testing.T) {
	failed := doneStep("boot", 0, 10)
	failed.Status, failed.Error = change.Failed, &change.Problem{Detail: "no light"}
	r := request(change.Failed, failed)
	r.Error = &change.Problem{Code: "no-boot", Detail: "machine m1 is dark", Action: "look at it"}
	appliance(t, events(t, []api.Request{r}))
	code, stdout, stderr := gantry(t, "machine", "deploy", "m1", "--image", "debian", "--ssh-key", key, "-o", "json")
	var got api.Request
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.ID != "r1" {
		t.Errorf("stdout %q: %v", stdout, err)
	}
	for _, w := range []string{"FAILED: no light", "m1 failed: machine m1 is dark", "what to do: look at it"} {
		if code != exitFailed || !strings.Contains(stderr, w) {
			t.Errorf("exit code %d, stderr %q does not say %q", code, stderr, w)
		}
	}
}

func TestDetach(t *testing.T) {
	appliance(t, events(t))
	if code, stdout, _ := gantry(t, "machine", "deploy", "m1", "--image", "debian", "--ssh-key", key, "--detach"); code != exitOK || stdout != "r1\n" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

// TestFollowRefused: a stream that is refused for good is not asked for again.
func TestFollowRefused(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/machines/m1/deploy", events(t))
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"detail":"no"}`, http.StatusForbidden) })
	appliance(t, mux)
	if code, _, stderr := gantry(t, "machine", "deploy", "m1", "--image", "debian", "--ssh-key", key); code != exitRefused {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// TestAnswers: what the appliance answers is the exit code and the message.
func TestAnswers(t *testing.T) {
	for status, want := range map[int]int{404: exitNotFound, 409: exitRefused, 401: exitRefused, 403: exitRefused, 422: exitRefused, 500: exitFailed, 502: exitFailed} {
		appliance(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"detail":"why not","errors":[{"message":"too long","location":"body.hostname"}]}`)
		}))
		if code, _, stderr := gantry(t, "machine", "show", "m1"); code != want || !strings.Contains(stderr, "why not; hostname: too long") {
			t.Errorf("answered %d: exit code %d, %q", status, code, stderr)
		}
	}
	appliance(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }))
	if code, _, stderr := gantry(t, "machine", "show", "m1"); code != exitFailed || !strings.Contains(stderr, "502") {
		t.Errorf("no problem: exit code %d, %q", code, stderr)
	}
	t.Setenv("GANTRY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if code, _, stderr := gantry(t, "machine", "show", "m1"); code != exitUnreachable || !strings.Contains(stderr, "start gantry-appliance") {
		t.Errorf("nobody there: exit code %d, %q", code, stderr)
	}
}

// TestFollowEnded: what has ended needs no stream, which may not name it.
func TestFollowEnded(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/requests/r1", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(request(change.Done, doneStep("boot", 0, 10)))
	})
	appliance(t, mux)
	if code, _, stderr := gantry(t, "request", "show", "-f", "r1"); code != exitOK || !strings.Contains(stderr, "m1: boot") || !strings.Contains(stderr, "done in 30.0 s") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// TestFollowAway: an appliance that is away is said once and given up in the end;
// one that comes back in time is followed on.
func TestFollowAway(t *testing.T) {
	for name, back := range map[string]int{"for ever": 1 << 30, "for a while": 100} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			mux := http.NewServeMux()
			whole := events(t, []api.Request{request(change.Done)})
			mux.Handle("POST /v1/machines/m1/deploy", whole)
			mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked < back {
					http.Error(w, "starting", http.StatusBadGateway)
					return
				}
				whole.ServeHTTP(w, r)
			})
			appliance(t, mux)
			var out, errs bytes.Buffer
			a, now := newApp(strings.NewReader(""), &out, &errs), t0
			a.now = func() time.Time { return now }
			a.pause = func(_ context.Context, d time.Duration) { now = now.Add(d) }
			code := run(t.Context(), a, []string{"machine", "deploy", "m1", "--image", "debian", "--ssh-key", key})
			if n := strings.Count(errs.String(), "asking again"); n != 1 {
				t.Errorf("said %d times that it is away: %q", n, errs.String())
			}
			if back < 1000 {
				if code != exitOK || !strings.Contains(errs.String(), "done in") {
					t.Errorf("exit code %d, %q", code, errs.String())
				}
				return
			}
			if gone := now.Sub(t0); code != exitUnreachable || gone != awayPatience || !strings.Contains(errs.String(), "gantry request show -f r1") {
				t.Errorf("exit code %d after %v, %q", code, gone, errs.String())
			}
		})
	}
}

// TestFollowLongStep: a stream that breaks after a long quiet step, in which the
// appliance said only that it is there, is asked for again.
func TestFollowLongStep(t *testing.T) {
	now, asked := t0, 0
	mux := http.NewServeMux()
	whole := events(t, []api.Request{request(change.Done)})
	mux.Handle("POST /v1/machines/m1/deploy", whole)
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			now = now.Add(2 * awayPatience) // nobody else looks at the clock yet
			fmt.Fprint(w, ": still here\n\n")
			return
		}
		whole.ServeHTTP(w, r)
	})
	appliance(t, mux)
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	a.now = func() time.Time { return now }
	a.pause = func(context.Context, time.Duration) {}
	code := run(t.Context(), a, []string{"machine", "deploy", "m1", "--image", "debian", "--ssh-key", key})
	if code != exitOK || strings.Contains(errs.String(), "asking again") {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}

// TestPlainProgress: a log gets a line every tenth or every ten seconds, and one
// for each phase.
func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	v := &viewer{out: &out, shown: map[string]bool{}}
	for _, p := range []struct {
		second, done int
		phase        string
	}{{0, 0, "write"}, {1, 5, "write"}, {2, 10, "write"}, {3, 19, "write"}, {11, 19, "write"}, {12, 19, "write"}, {13, 40, "write"}, {13, 0, "verify"}, {14, 1, "verify"}} {
		r := request(change.Running)
		r.Progress = &change.Progress{Step: "image", Phase: p.phase, Done: int64(p.done) << 20, Total: 100 << 20, At: t0.Add(time.Duration(p.second) * time.Second)}
		v.show(r)
	}
	want := `     0.0 s  m1: image: write   0 %  0 B of 100.0 MiB
     2.0 s  m1: image: write  10 %  10.0 MiB of 100.0 MiB
    12.0 s  m1: image: write  19 %  19.0 MiB of 100.0 MiB
    13.0 s  m1: image: write  40 %  40.0 MiB of 100.0 MiB
    13.0 s  m1: image: verify   0 %  0 B of 100.0 MiB
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

// TestHostileProgress: whatever numbers a machine reports, they are drawn.
func TestHostileProgress(t *testing.T) {
	for _, p := range []change.Progress{
		{Done: -5, Total: 10}, {Done: 1 << 62, Total: 1 << 62}, {Done: math.MaxInt64, Total: 1}, {Done: math.MinInt64, Total: math.MaxInt64},
		{Done: 3, Total: -1}, {Done: 1, Total: 2, Rate: -1, Remaining: math.NaN()}, {Done: 1, Total: 2, Rate: math.MaxInt64, Remaining: math.Inf(1)},
	} {
		for _, tty := range []bool{true, false} {
			var out bytes.Buffer
			r := request(change.Running)
			r.Progress = &p
			(&viewer{out: &out, tty: tty, shown: map[string]bool{}}).show(r)
			if tty && p.Total > 0 && strings.Count(out.String(), "█")+strings.Count(out.String(), "·") != 30 {
				t.Errorf("%+v: %q", p, out.String())
			}
		}
	}
}

// TestViewerOnTerminal: one live line that is replaced, and is gone when a step
// has ended.
func TestViewerOnTerminal(t *testing.T) {
	var out bytes.Buffer
	v := &viewer{out: &out, tty: true, shown: map[string]bool{}}
	r := request(change.Running)
	r.Progress = &change.Progress{Step: "image", Phase: "write", Done: 512 << 20, Total: 1 << 30, Rate: 100 << 20, Remaining: 5.4}
	v.show(r)
	v.show(request(change.Done, doneStep("image", 0, 25)))
	want := "\r\x1b[K  image: write       [███████████████···············]  50 %  512.0 MiB of 1.0 GiB  100.0 MiB/s  5 s left" +
		"\r\x1b[K    25.0 s  m1: image                           25.0 s  \n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
	if got := liveLine(&change.Progress{Step: "boot", Phase: "boot", Message: "iPXE runs"}); got != "  boot  iPXE runs" {
		t.Errorf("%q", got)
	}
	if got := liveLine(&change.Progress{Step: "image", Done: 20, Total: 10}); !strings.Contains(got, strings.Repeat("█", 30)) {
		t.Errorf("more than all of it: %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 10 << 30: "10.0 GiB", 1 << 62: "4096.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
