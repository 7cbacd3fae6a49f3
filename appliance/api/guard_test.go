package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestForeignHost: a name that is not this host's is refused (DNS rebinding),
// but over TLS, where the token says who asks.
func TestForeignHost(t *testing.T) {
	b := newBench(t)
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:8080": true, "gantry": true, "127.0.0.1": true, "127.0.0.9:80": true, "[::1]:80": true, "::1": true,
		"": false, "evil.example": false, "localhost.evil.example": false, "10.0.0.1": false, "169.254.169.254": false, "127.0.0.1.evil.example:80": false,
	} {
		for _, path := range []string{"/v1/status", "/", "/v1/events"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			if path == "/v1/events" && ok {
				continue // it would follow
			}
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			if ok && w.Code != http.StatusOK {
				t.Errorf("host %q: %s answered %d", host, path, w.Code)
			} else if !ok {
				problem(t, w, http.StatusMisdirectedRequest, "localhost")
			}
		}
	}
	r := httptest.NewRequest("GET", "/v1/status", nil)
	r.Host, r.TLS = "pod1.example", &tls.ConnectionState{}
	w := httptest.NewRecorder()
	if b.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("over TLS: %d", w.Code)
	}
}

// TestCrossOrigin: a page of another site can neither change nor send anything.
func TestCrossOrigin(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	for name, headers := range map[string][]string{
		"another site":   {"Sec-Fetch-Site", "cross-site"},
		"another port":   {"Sec-Fetch-Site", "same-site"},
		"another origin": {"Origin", "http://evil.example"},
		"null origin":    {"Origin", "null"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range []string{"POST /v1/machines/m1/inspect", "DELETE /v1/machines/m1", "PUT /v1/images/a/1", "POST /v1/inventory"} {
				method, path, _ := strings.Cut(call, " ")
				problem(t, b.call(method, path, "", headers...), http.StatusForbidden, "another site")
			}
		})
	}
	if m, err := b.Assets.Machine(t.Context(), "m1"); err != nil || m.Lock != "" {
		t.Errorf("m1: lock %q, %v", m.Lock, err)
	}
	w := b.call("GET", "/", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the page: %d %v", w.Code, w.Header())
	}
	if w := b.call("POST", "/v1/machines/m1/inspect", "", "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusAccepted {
		t.Errorf("from our own page: %d %s", w.Code, w.Body)
	}
}

func TestReadiness(t *testing.T) {
	b := newBench(t)
	b.get("GET", "/healthz", "", nil)
	b.get("GET", "/readyz", "", nil)
	b.Ready = func() error { return errors.New("dhcp: no such device") }
	if w := b.call("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no such device") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

func writeTokens(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// TestTokens: only a token of the file lets one in, under the file's name.
func TestTokens(t *testing.T) {
	tokens, err := ReadTokens(writeTokens(t, fmt.Sprintf("# who may\n\nann %s # her laptop\nbob\t%s\n", hash("one"), strings.ToUpper(hash("two")))))
	if err != nil {
		t.Fatal(err)
	}
	var who string
	h := tokens.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who = caller(r.Context()) }))
	for header, want := range map[string]string{"Bearer one": "ann", "Bearer two": "bob", "Bearer three": "", "Bearer ": "", "": "", "Basic one": "", "Bearer " + hash("one"): ""} {
		who = ""
		r := httptest.NewRequest("GET", "/v1/status", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if who != want {
			t.Errorf("%q came in as %q, want %q", header, who, want)
		}
		if want == "" {
			problem(t, w, http.StatusUnauthorized, "token")
		}
	}
}

func TestTokensRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no hash":         {"ann", "line 1"},
		"no name":         {"\n" + hash("one"), "line 2"},
		"token in clear":  {"ann s3cret", "line 1"},
		"short hash":      {"ann abcd", "line 1"},
		"three words":     {"ann smith " + hash("one"), "line 1"},
		"hash of nothing": {"ann " + hash(""), "line 1"},
	} {
		_, err := ReadTokens(writeTokens(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := ReadTokens(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestCallerOnTheSocket: who asks over the Unix socket is on the record.
func TestCallerOnTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	who := make(chan string, 1)
	server := &http.Server{ConnContext: UnixContext, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if byRoot(r.Context()) != (os.Getuid() == 0) {
			t.Error("root is somebody else")
		}
		who <- caller(r.Context())
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://gantry/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := <-who; got == "unknown" || got == "" {
		t.Errorf("the caller is %q", got)
	}
	client.CloseIdleConnections()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
