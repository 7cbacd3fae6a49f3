package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

// follow opens a stream of the API over a real connection and returns its lines.
func (b *bench) follow(path string) (lines func() string) {
	b.t.Helper()
	server := httptest.NewServer(b.handler)
	ctx, hangUp := context.WithCancel(b.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		hangUp()
		resp.Body.Close()
		server.Close() // waits until the handler has noticed
	})
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("GET %s: %s", path, resp.Status)
	}
	s := bufio.NewScanner(resp.Body)
	return func() string {
		b.t.Helper()
		if !s.Scan() {
			b.t.Fatalf("GET %s ended: %v", path, s.Err())
		}
		return s.Text()
	}
}

type message struct {
	kind string
	data map[string]any
}

// next reads one message of a server-sent event stream.
func next(t *testing.T, line func() string) (m message) {
	t.Helper()
	for {
		l := line()
		switch {
		case l == "":
			if m.kind != "" {
				return m
			}
		case strings.HasPrefix(l, ":"):
		case strings.HasPrefix(l, "event: "):
			m.kind = strings.TrimPrefix(l, "event: ")
		default:
			if err := json.Unmarshal([]byte(strings.TrimPrefix(l, "data: ")), &m.data); err != nil {
				t.Fatalf("line %q: %v", l, err)
			}
		}
	}
}

// TestEvents: everything as it stands, then ready, then only what changes.
func TestEvents(t *testing.T) {
	b := newBench(t)
	if err := b.Alerts.Raise(t.Context(), alert.Alert{Code: "c", Subject: "machine/m1", Detail: "two\nlines\n\nevent: ready"}); err != nil {
		t.Fatal(err)
	}
	line := b.follow("/v1/events")
	var kinds []string
	for len(kinds) == 0 || kinds[len(kinds)-1] != "ready" {
		kinds = append(kinds, next(t, line).kind)
	}
	if want := []string{"machine", "machine", "alert", "ready"}; !slices.Equal(kinds, want) {
		t.Fatalf("began with %v, want %v", kinds, want)
	}
	b.set("m2", func(m *asset.Machine) { m.Status.State = machine.Active })
	m := next(t, line)
	if status, _ := m.data["status"].(map[string]any); m.kind != "machine" || m.data["id"] != "m2" || status["state"] != "active" {
		t.Errorf("after a change: %+v", m)
	}
	b.ready("m1")
	next(t, line)
	var r Request
	b.get("POST", "/v1/machines/m1/deploy", `{"image":"debian"}`, &r)
	for seen := false; !seen; {
		m := next(t, line)
		seen = m.kind == "request" && m.data["id"] == r.ID
	}
}

// TestEventsGone: what is no longer there is said to be, so nobody shows it on.
func TestEventsGone(t *testing.T) {
	b := newBench(t)
	if err := b.Alerts.Raise(t.Context(), alert.Alert{Code: "c", Subject: "machine/m1"}); err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	b.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	line := b.follow("/v1/events")
	for next(t, line).kind != "ready" {
	}
	b.get("DELETE", "/v1/machines/m2", "", nil)
	if m := next(t, line); m.kind != "gone" || m.data["kind"] != "machine" || m.data["id"] != "m2" {
		t.Errorf("after m2 was deleted: %+v", m)
	}
	list, err := b.Alerts.List(t.Context(), false)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	b.get("POST", "/v1/alerts/"+list[0].ID+"/resolve", "", nil)
	if m := next(t, line); m.kind != "alert" || m.data["resolved"] == nil {
		t.Errorf("after it was resolved: %+v", m)
	}
	if events, err := b.snapshot(t.Context(), alertEvent, ""); err != nil || len(events) != 1 {
		t.Errorf("resolved just now: %+v, %v", events, err)
	}
	later.Store(int64(2 * eventResolved))
	if events, err := b.snapshot(t.Context(), alertEvent, ""); err != nil || len(events) != 0 {
		t.Errorf("resolved long ago: %+v, %v", events, err)
	}
}

// TestEventsOfOldRequests: a request that has not ended is shown, however many
// came after it.
func TestEventsOfOldRequests(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	b.ready("m2")
	var old Request
	b.get("POST", "/v1/machines/m1/deploy", `{"image":"debian"}`, &old)
	for range eventRequests {
		var r Request
		b.get("POST", "/v1/machines/m2/deploy", `{"image":"debian"}`, &r)
		b.get("POST", "/v1/requests/"+r.ID+"/cancel", "", nil)
		b.await(r.ID)
	}
	events, err := b.snapshot(t.Context(), requestEvent, "")
	if err != nil || len(events) != eventRequests+1 || events[0].id != old.ID {
		t.Errorf("%d events, %v", len(events), err)
	}
	if events, err := b.snapshot(t.Context(), requestEvent, "m2"); err != nil || len(events) != eventRequests {
		t.Errorf("of m2: %d events, %v", len(events), err)
	}
}

// TestEventsAreBounded: however often things change, a stream looks four times a
// second, and sends only what has changed.
func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, hangUp := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/events", nil)
		r.Host = "gantry"
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() { b.handler.ServeHTTP(w, r); close(done) }()
		for i := range 100 { // over a second
			err := b.Assets.Change(t.Context(), "m1", func(_ *store.Tx, m *asset.Machine) error { m.Notes = fmt.Sprint(i); return nil })
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		hangUp()
		<-done
		body := w.Body.String()
		if n := strings.Count(body, `"id":"m1"`); n < 2 || n > 6 || !strings.Contains(body, `"notes":"99"`) {
			t.Errorf("m1 was sent %d times", n)
		}
		if n := strings.Count(body, `"id":"m2"`); n != 1 {
			t.Errorf("m2 was sent %d times", n)
		}
	})
}

// TestEventsOfOneMachine leave the others out.
func TestEventsOfOneMachine(t *testing.T) {
	b := newBench(t)
	line := b.follow("/v1/events?machine=m2")
	if m := next(t, line); m.kind != "machine" || m.data["id"] != "m2" {
		t.Errorf("first: %+v", m)
	}
	if m := next(t, line); m.kind != "ready" {
		t.Errorf("second: %+v", m)
	}
	b.set("m1", func(m *asset.Machine) { m.Notes = "x" })
	b.set("m2", func(m *asset.Machine) { m.Notes = "y" })
	if m := next(t, line); m.data["id"] != "m2" || m.data["notes"] != "y" {
		t.Errorf("third: %+v", m)
	}
}

// TestLogFollow: the last lines at once, and each new one as it comes.
func TestLogFollow(t *testing.T) {
	b := newBench(t)
	if err := b.Logs.Add("m1", "one", "two", "three"); err != nil {
		t.Fatal(err)
	}
	if body := b.call("GET", "/v1/machines/m1/log?tail=2", "").Body.String(); strings.Contains(body, "one") || strings.Count(body, "\n") != 2 {
		t.Errorf("tail: %q", body)
	}
	if body := b.call("GET", "/v1/machines/m2/log", "").Body.String(); body != "" {
		t.Errorf("a machine without a log: %q", body)
	}
	line := b.follow("/v1/machines/m1/log?tail=1&follow=true")
	if l := line(); !strings.HasSuffix(l, " three") {
		t.Errorf("first line %q", l)
	}
	if err := b.Logs.Add("m1", "fo\x1bur"); err != nil {
		t.Fatal(err)
	}
	if l := line(); !strings.HasSuffix(l, " fo·ur") {
		t.Errorf("next line %q", l)
	}
}
