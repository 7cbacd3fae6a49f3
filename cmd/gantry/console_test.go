package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/lab"
)

// serveUnix serves h on a Unix socket.
func serveUnix(t *testing.T, path string, h http.Handler) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
}

// TestMachineConsole attaches to the console that the lab of the appliance in use
// has for the machine, known there by another name and the same MAC address; and
// is refused where the pod knows none.
func TestMachineConsole(t *testing.T) {
	dir, err := os.MkdirTemp("", "console") // a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, console := filepath.Join(dir, "appliance.sock"), filepath.Join(dir, "m1.console")
	t.Setenv("GANTRY_SOCKET", socket)
	t.Setenv("GANTRY_SERVER", "")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/machines/new-1", answer(map[string]any{"id": "new-1", "macs": []string{"52:54:00:00:00:0a"}}))
	mux.HandleFunc("GET /v1/machines/real", answer(map[string]any{"id": "real", "macs": []string{"52:54:00:00:00:0b"}}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	serveUnix(t, socket, mux)

	refused := func(machine string, args ...string) {
		t.Helper()
		code, _, stderr := gantry(t, append([]string{"machine", "console", machine}, args...)...)
		if code != exitRefused || !strings.Contains(stderr, "knows no console of machine "+machine) || !strings.Contains(stderr, "machine logs") {
			t.Errorf("%s %v: exit code %d, %q", machine, args, code, stderr)
		}
	}
	refused("new-1") // no lab is beside this appliance
	status := lab.Status{Appliance: &lab.ApplianceStatus{Socket: "/elsewhere.sock"},
		Machines: []lab.MachineStatus{{Name: "m1", MACs: []string{"52:54:00:00:00:0A"}, Console: console}}}
	serveUnix(t, filepath.Join(dir, lab.ControlName), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(status)(w, r) }))
	refused("new-1") // it has another appliance
	status.Appliance.Socket = socket
	refused("real") // and it lacks this machine
	if code, _, _ := gantry(t, "machine", "console", "m9"); code != exitNotFound {
		t.Errorf("no such machine: exit code %d", code)
	}

	l, err := net.Listen("unix", console)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	typed := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "login: ")
		text, _ := io.ReadAll(conn)
		typed <- string(text)
	}()
	var out, errs bytes.Buffer
	input, keys := io.Pipe()
	go func() { _, _ = io.WriteString(keys, "root\r~.") }()
	if code := run(t.Context(), newApp(input, &out, &errs), []string{"machine", "console", "new-1"}); code != exitOK {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	if got := <-typed; got != "root\r" {
		t.Errorf("the machine was typed %q", got)
	}
	if !strings.Contains(errs.String(), "[left new-1]") {
		t.Errorf("said %q", errs.String())
	}
}
