package pdu

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gosnmp/gosnmp"
)

const (
	status2  = "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.2"
	pending2 = "1.3.6.1.4.1.318.1.1.26.9.2.3.1.6.2"
	control2 = "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.2"
)

// ask encodes a v2c message, has the agent answer it, and returns the answer.
func ask(t *testing.T, a *Agent, op gosnmp.PDUType, vars ...gosnmp.SnmpPDU) *gosnmp.SnmpPacket {
	t.Helper()
	request := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "writer", PDUType: op, RequestID: 7, Variables: vars}
	raw, err := request.MarshalMsg()
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := a.answer(&net.UDPAddr{}, raw)
	if reply == nil {
		t.Fatalf("no answer to %v", vars)
	}
	answer, err := (&gosnmp.GoSNMP{}).SnmpDecodePacket(reply)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func readInt(t *testing.T, a *Agent, oid string) int {
	t.Helper()
	v := ask(t, a, gosnmp.GetRequest, gosnmp.SnmpPDU{Name: oid, Type: gosnmp.Null}).Variables[0]
	n, ok := v.Value.(int)
	if !ok {
		t.Fatalf("%s reads %v", oid, v)
	}
	return n
}

func write(t *testing.T, a *Agent, oid string, n int) gosnmp.SNMPError {
	t.Helper()
	return ask(t, a, gosnmp.SetRequest, gosnmp.SnmpPDU{Name: oid, Type: gosnmp.Integer, Value: n}).Error
}

// offline makes an agent that is asked without a network, so that its clock
// can be a test's.
func offline(t *testing.T, change func(*Config)) *Agent {
	t.Helper()
	cfg := testConfig()
	change(&cfg)
	a, err := New(cfg, make(relays, 64), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestPending follows one outlet through its delays, second by second.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := offline(t, func(c *Config) { c.OffDelay, c.OnDelay, c.RebootDuration = 3*time.Second, time.Second, 5*time.Second })
		at := func(when string, wantStatus, wantPending int) {
			t.Helper()
			if s, p := readInt(t, a, status2), readInt(t, a, pending2); s != wantStatus || p != wantPending {
				t.Errorf("%s: status %d pending %d, want %d and %d", when, s, p, wantStatus, wantPending)
			}
		}
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		at("at first", 2, 2)
		write(t, a, control2, 2)
		at("off commanded", 2, 1)
		pass(2 * time.Second)
		at("2 s later", 2, 1)
		pass(time.Second)
		at("3 s later", 1, 2)
		write(t, a, control2, 1)
		at("on commanded", 1, 1)
		write(t, a, control2, 8)
		pass(10 * time.Second)
		at("on cancelled", 1, 2)
		write(t, a, control2, 3)
		pass(3 * time.Second)
		at("cycle: off, on to come", 1, 1)
		pass(5 * time.Second)
		at("cycle: on", 2, 2)
		write(t, a, "1.3.6.1.4.1.318.1.1.26.9.2.1.1.6.2", 60)
		write(t, a, control2, 6)
		pass(62 * time.Second)
		at("delayed off pending", 2, 1)
		pass(time.Second)
		at("delayed off", 1, 2)
	})
}

// TestOutletFaults has each fault show as it does on the wire.
func TestOutletFaults(t *testing.T) {
	tests := []struct {
		name     string
		fault    OutletFault
		setError gosnmp.SNMPError
		status   int
		pending  int
		on       bool
	}{
		{"healthy", Healthy, gosnmp.NoError, 1, 2, false},
		{"dead", Dead, gosnmp.NoError, 2, 2, true},
		{"unreadable", Unreadable, gosnmp.NoError, 0, 2, false},
		{"error but done", ErrorButDone, gosnmp.GenErr, 1, 2, false},
		{"refusing", Refusing, gosnmp.GenErr, 2, 2, true},
		{"stuck", Stuck, gosnmp.NoError, 2, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := offline(t, func(*Config) {})
			a.Fail(2, tt.fault)
			if got := write(t, a, control2, 2); got != tt.setError {
				t.Errorf("set answers %v, want %v", got, tt.setError)
			}
			if s, p := readInt(t, a, status2), readInt(t, a, pending2); s != tt.status || p != tt.pending || a.Outlet(2) != tt.on {
				t.Errorf("status %d pending %d on %v, want %d %d %v", s, p, a.Outlet(2), tt.status, tt.pending, tt.on)
			}
		})
	}
}

// TestWireFaults loses what it says it loses, over a real socket.
func TestWireFaults(t *testing.T) {
	t.Parallel()
	a, address, power := serve(t, testConfig())
	get := func() string {
		out, _ := snmp(t, "snmpget", address, "-v2c", "-c", "writer", "-Oqv", status2)
		return out
	}
	a.FailWire(WireFault{LoseSetReplies: 1})
	if out, err := snmp(t, "snmpset", address, "-v2c", "-c", "writer", control2, "i", "2"); err == nil {
		t.Errorf("the reply was not lost: %s", out)
	}
	expect(t, power, move{2, false})
	if got := get(); got != "1" {
		t.Errorf("after one lost reply: %s, want 1", got)
	}
	a.FailWire(WireFault{Silent: true})
	if got := get(); !strings.Contains(got, "Timeout") {
		t.Errorf("a silent wire answers %s", got)
	}
	a.FailWire(WireFault{Slow: 300 * time.Millisecond})
	begun := time.Now()
	if got := get(); got != "1" || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("a slow wire answers %s after %v", got, time.Since(begun))
	}
}

// TestTrace sees what was asked, in order, by whom it may be.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var got []Event
	a := offline(t, func(c *Config) {
		c.Trace = func(e Event) { mu.Lock(); defer mu.Unlock(); e.Time, e.From = time.Time{}, nil; got = append(got, e) }
	})
	readInt(t, a, status2)
	write(t, a, control2, 2)
	want := []Event{
		{Version: "2c", Op: "get", Admitted: true, Vars: []Var{{OID: status2}}},
		{Version: "2c", Op: "set", Admitted: true, Vars: []Var{{OID: control2, Value: 2}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFits has a large question refused and a large bulk cut.
func TestFits(t *testing.T) {
	a := offline(t, func(c *Config) { c.Outlets = 48 })
	many := make([]gosnmp.SnmpPDU, 90)
	for i := range many {
		many[i] = gosnmp.SnmpPDU{Name: status2, Type: gosnmp.Null}
	}
	if got := ask(t, a, gosnmp.GetRequest, many...); got.Error != gosnmp.TooBig {
		t.Errorf("90 variables: %v, want TooBig", got.Error)
	}
	bulk := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "reader", PDUType: gosnmp.GetBulkRequest, RequestID: 1, MaxRepetitions: 200,
		Variables: []gosnmp.SnmpPDU{{Name: "1.3.6.1.4.1.318", Type: gosnmp.Null}}}
	raw, err := bulk.MarshalMsg()
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := a.answer(&net.UDPAddr{}, raw)
	if len(reply) < maxMessage/2 || len(reply) > maxMessage {
		t.Errorf("a bulk of %d bytes, want nearly %d", len(reply), maxMessage)
	}
}

// FuzzAnswer throws bytes at the agent: it must never panic, and never switch
// an outlet for who has no right to.
func FuzzAnswer(f *testing.F) {
	cfg := Config{Outlets: 4, On: true, ReadCommunity: "reader", Users: []User{{Name: "alice", AuthPassword: "authauth1", PrivPassword: "privpriv1"}}}
	a, err := New(cfg, make(relays, 1), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		f.Fatal(err)
	}
	for _, version := range []gosnmp.SnmpVersion{gosnmp.Version1, gosnmp.Version2c} {
		for _, op := range []gosnmp.PDUType{gosnmp.GetRequest, gosnmp.GetNextRequest, gosnmp.GetBulkRequest, gosnmp.SetRequest} {
			raw, err := (&gosnmp.SnmpPacket{Version: version, Community: "reader", PDUType: op, RequestID: 1, MaxRepetitions: 3,
				Variables: []gosnmp.SnmpPDU{{Name: control2, Type: gosnmp.Integer, Value: 2}}}).MarshalMsg()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	discovery, err := (&gosnmp.SnmpPacket{Version: gosnmp.Version3, MsgFlags: gosnmp.Reportable, SecurityModel: gosnmp.UserSecurityModel, MsgID: 1,
		SecurityParameters: &gosnmp.UsmSecurityParameters{}, PDUType: gosnmp.GetRequest}).MarshalMsg()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(discovery)
	f.Fuzz(func(t *testing.T, raw []byte) {
		reply, _ := a.answer(&net.UDPAddr{}, raw)
		if len(reply) > maxMessage {
			t.Errorf("an answer of %d bytes", len(reply))
		}
		for n := 1; n <= 4; n++ {
			if !a.Outlet(n) {
				t.Fatalf("outlet %d was switched", n)
			}
		}
	})
}
