package snmp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/pdu/pdutest"
	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/host"
)

// wire records what a PDU was asked, as it arrived.
type wire struct {
	mu     sync.Mutex // guards events
	events []labpdu.Event
}

func (w *wire) see(e labpdu.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told returns what was asked of the outlets' columns since the last time, a
// word each; repeats of a read in a row are one.
func (w *wire) told(outlet string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := families()[0]
	var said []string
	for _, e := range w.events {
		word := ""
		switch {
		case e.Op == "set" && e.Vars[0].OID == f.control+"."+outlet:
			word = fmt.Sprintf("set %v", e.Vars[0].Value)
		case e.Op == "get" && e.Vars[0].OID == f.status+"."+outlet:
			word = "get"
		default:
			continue
		}
		if word != "get" || len(said) == 0 || said[len(said)-1] != "get" {
			said = append(said, word)
		}
	}
	w.events = nil
	return said
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events)
}

// TestRestartOnTheWire has a restart be get, off, poll, on, poll.
func TestRestartOnTheWire(t *testing.T) {
	t.Parallel()
	w := &wire{}
	cfg := labConfig(labpdu.RPDU2)
	cfg.OffDelay, cfg.OnDelay, cfg.Trace = 100*time.Millisecond, 100*time.Millisecond, w.see
	_, address := pdutest.Start(t, cfg)
	pdu := startHost(t).PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(logins()["v2c"]), Name: "lab"})
	for i, on := range []bool{false, true} {
		result, err := pdu.Set(t.Context(), host.Change{Outlet: "3", On: on, OperationID: fmt.Sprint(i), Generation: 1})
		if err != nil || result.Outcome != device.OutcomeApplied || result.After != device.Settled(on) {
			t.Fatalf("set %v: %+v, %v", on, result, err)
		}
	}
	if diff := cmp.Diff([]string{"get", "set 2", "get", "set 1", "get"}, w.told("3")); diff != "" {
		t.Errorf("on the wire (-want +got):\n%s", diff)
	}
	if _, err := pdu.Set(t.Context(), host.Change{Outlet: "3", On: true, OperationID: "again", Generation: 1}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"get"}, w.told("3")); diff != "" {
		t.Errorf("a change that is done already, on the wire (-want +got):\n%s", diff)
	}
}

// TestFewRequests reads many outlets with few requests: 24 outlets, their
// states and pending commands, names, banks and numbers.
func TestFewRequests(t *testing.T) {
	t.Parallel()
	w := &wire{}
	cfg := labConfig(labpdu.RPDU2)
	cfg.Trace = w.see
	_, address := pdutest.Start(t, cfg)
	pdu := startHost(t).PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(logins()["v2c"]), Name: "lab"})
	if _, err := pdu.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 24)
	for i := range ids {
		ids[i] = fmt.Sprint(i + 1)
	}
	before := w.count()
	if _, err := pdu.GetMany(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if n := w.count() - before; n > 2 {
		t.Errorf("24 outlets took %d requests to read, want 2", n)
	}
	before = w.count()
	if _, err := pdu.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.count() - before; n > 5 {
		t.Errorf("24 outlets took %d requests to list, want 5 at most", n)
	}
}

// TestLogins has each wrong login fail with its reason, and no secret in the
// error, the log, the driver's arguments or its environment.
func TestLogins(t *testing.T) {
	t.Parallel()
	_, address := pdutest.Start(t, labConfig(labpdu.RPDU2))
	h := startHost(t)
	tests := []struct {
		name, config string
		want         device.Reason
	}{
		{"unknown community", `{"community":"Zebra-1234","timeout_ms":100,"retries":0}`, device.Unreachable},
		{"wrong password", `{"version":"3","user":"bob","auth_password":"Zebra-1234","timeout_ms":300}`, device.Auth},
		{"unknown user", `{"version":"3","user":"mallory","auth_password":"Zebra-1234","timeout_ms":300}`, device.Auth},
		{"too low a level", `{"version":"3","user":"alice","auth_password":"authauth1","timeout_ms":300}`, device.Auth},
		{"wrong encryption password", `{"version":"3","user":"alice","auth_password":"authauth1","priv_password":"Zebra-1234","timeout_ms":300}`, device.Auth},
		{"no community", `{"version":"2c"}`, device.Rejected},
		{"unknown key", `{"community":"look","comunity":"Zebra-1234"}`, device.Rejected},
		{"encryption alone", `{"version":"3","user":"alice","priv_password":"Zebra-1234"}`, device.Rejected},
	}
	for _, tt := range tests {
		pdu := h.PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(tt.config), Name: "lab"})
		_, err := pdu.Get(t.Context(), "1")
		if e := device.AsError(err); e == nil || e.Reason != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "Zebra") {
			t.Errorf("%s: the error quotes the secret: %v", tt.name, err)
		}
	}
	for _, file := range []string{"environ", "cmdline"} {
		raw, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(h.Drivers()[0].PID), file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "Zebra") {
			t.Errorf("the driver's %s holds a secret", file)
		}
	}
	reader := h.PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(`{"community":"look"}`), Name: "lab"})
	_, err := reader.Set(t.Context(), host.Change{Outlet: "1", OperationID: "x"})
	if e := device.AsError(err); e == nil || e.Reason != device.Auth || e.DeviceCode == "" || !e.StateKnown {
		t.Errorf("a change by who may only read: %+v, want auth with the device's code", e)
	}
}

// TestStuckCommand gives an outlet whose command pends for ever another one,
// once the fault is gone: nothing else frees it.
func TestStuckCommand(t *testing.T) {
	t.Parallel()
	cfg := labConfig(labpdu.RPDU2)
	cfg.On = true
	agent, address := pdutest.Start(t, cfg)
	pdu := startHost(t).PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(logins()["v2c"]), Name: "lab"})
	set := func(op string) device.State {
		t.Helper()
		result, err := pdu.Set(t.Context(), host.Change{Outlet: "2", On: false, OperationID: op})
		if err != nil {
			t.Fatal(err)
		}
		return result.After
	}
	agent.Fail(2, labpdu.Stuck)
	for _, op := range []string{"one", "two"} {
		if got := set(op); got != device.StatePendingOff {
			t.Errorf("stuck: %v after change %s", got, op)
		}
	}
	agent.Fail(2, labpdu.Healthy)
	if got := set("three"); got != device.StateOff || agent.Outlet(2) {
		t.Errorf("healthy again: %v, relay on %v", got, agent.Outlet(2))
	}
}

// TestForeign tells what a device is that the driver does not know.
func TestForeign(t *testing.T) {
	t.Parallel()
	_, address := pdutest.Start(t, labConfig(labpdu.RPDU2))
	s := newSession(config{Version: "2c", Community: "look", TimeoutMS: 1000, Retries: 1, host: "127.0.0.1"}, device.Target{Name: "lab"})
	if err := s.cfg.setAddress(address); err != nil {
		t.Fatal(err)
	}
	_, err := s.identify(t.Context(), families()[1:]) // all but what it speaks
	if e := device.AsError(err); e == nil || e.Reason != device.Unsupported || !strings.Contains(e.Message, "1.3.6.1.4.1.318.1.3.4.6") {
		t.Errorf("%v, want unsupported with the sysObjectID", err)
	}
}

// BenchmarkSet is one change, read back, through host, process and SNMP.
func BenchmarkSet(b *testing.B) {
	run, err := os.MkdirTemp("/tmp", "gb")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(run) })
	drivers, err := buildDriver()
	if err != nil {
		b.Fatal(err)
	}
	h, err := host.New(host.Config{Dir: drivers, RunDir: run, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	go h.Run(context.Background())
	b.Cleanup(func() { h.Close() })
	_, address := pdutest.Start(b, labConfig(labpdu.RPDU2))
	pdu := h.PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(logins()["v2c"]), Name: "lab"})
	if _, err := pdu.Probe(b.Context()); err != nil {
		b.Fatal(err)
	}
	on := false
	for i := 0; b.Loop(); i++ {
		if _, err := pdu.Set(b.Context(), host.Change{Outlet: "1", On: on, OperationID: fmt.Sprint(i)}); err != nil {
			b.Fatal(err)
		}
		on = !on
	}
}
