package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServer reaches an appliance by its URL: with the authority's file, and with
// a token that goes over https or to this computer only.
func TestServer(t *testing.T) {
	token := ""
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("Authorization")
		if r.URL.Path == "/v1/machines/away" {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
			return
		}
		answer(map[string]string{"id": "m1"})(w, r)
	})
	plain, secure := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that does not trust it is wanted
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GANTRY_TOKEN", "geheim")
	for _, c := range []struct {
		server, machine, ca string
		code                int
		says                string
		sent                bool
	}{
		{server: plain.URL, machine: "m1", code: exitOK, sent: true},
		{server: secure.URL, machine: "m1", ca: ca, code: exitOK, sent: true},
		{server: secure.URL, machine: "m1", code: exitUnreachable, says: "--ca-file"},
		{server: plain.URL, machine: "m1", ca: os.DevNull, code: exitUsage, says: "no PEM certificate"},
		{server: "http://192.0.2.1", machine: "m1", code: exitUsage, says: "use https"},
		{server: "http://localhost.example", machine: "m1", code: exitUsage, says: "use https"},
		{server: plain.URL, machine: "away", code: exitFailed, says: "302", sent: true},
	} {
		token = ""
		t.Setenv("GANTRY_SERVER", c.server)
		t.Setenv("GANTRY_CA", c.ca)
		code, _, stderr := gantry(t, "machine", "show", c.machine)
		if code != c.code || !strings.Contains(stderr, c.says) || strings.Contains(stderr, "geheim") {
			t.Errorf("%s %s: exit code %d, %q; want %d and %q", c.server, c.machine, code, stderr, c.code, c.says)
		}
		if (token == "Bearer geheim") != c.sent {
			t.Errorf("%s %s: was sent %q", c.server, c.machine, token)
		}
	}
}
