package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestAPIForwardOnlyReads holds that a user of this computer sees the appliance's
// page and events on the port, live, and can change nothing through it.
func TestAPIForwardOnlyReads(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	more := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.Host+r.URL.String())
		mu.Unlock()
		fmt.Fprintln(w, "first")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/v1/events" {
			<-more
			fmt.Fprintln(w, "second")
		}
	}))
	defer api.Close()
	listener, err := Forward{To: toAppliance, Listen: "127.0.0.1:0"}.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{Forward: Forward{To: toAppliance, Listen: "127.0.0.1:0"}, listener: listener, log: slog.New(slog.DiscardHandler),
		dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", api.Listener.Addr().String())
		}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.serve(ctx) }()
	base := "http://" + listener.Addr().String()

	events, err := http.Get(base + "/v1/events?machine=m1")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Errorf("the first event: %q, %v", line, err)
	}
	close(more) // only now is the second one sent
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Errorf("the second event: %q, %v", line, err)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "CONNECT", "OPTIONS", "BREW"} {
		req, err := http.NewRequestWithContext(t.Context(), method, base+"/v1/machines/m1/release", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "looking only") {
			t.Errorf("%s: %s %s", method, resp.Status, body)
		}
	}
	resp, err := http.Head(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cancel()
	<-ended
	host := listener.Addr().String()
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(seen, "\n"), "GET "+host+"/v1/events?machine=m1\nHEAD "+host+"/"; got != want {
		t.Errorf("the appliance was asked:\n%s\nwant:\n%s", got, want)
	}
}
