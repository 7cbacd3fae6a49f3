package pdu

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// relays records what Power is told.
type relays chan move

func (r relays) Set(outlet int, on bool) { r <- move{outlet, on} }

func testConfig() Config {
	return Config{
		Outlets: 4, On: true, ReadCommunity: "reader", WriteCommunity: "writer",
		Users: []User{
			{Name: "alice", AuthPassword: "authauth1", PrivPassword: "privpriv1"},
			{Name: "bob", AuthPassword: "authauth2", ReadOnly: true},
			{Name: "carol", ReadOnly: true},
		},
	}
}

// serve runs an agent on the loopback and returns its address.
func serve(t *testing.T, cfg Config) (*Agent, string, relays) {
	t.Helper()
	power := make(relays, 64)
	a, err := New(cfg, power, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, conn.LocalAddr().String(), power
}

// snmp runs one of net-snmp's tools against the agent: a client that shares no
// code with it.
func snmp(t *testing.T, tool, address string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is missing: apt-get install snmp", tool)
	}
	split := 0
	for i, arg := range args {
		if strings.HasPrefix(arg, "1.3.") || strings.HasPrefix(arg, ".1.3.") {
			split = i
			break
		}
	}
	full := append([]string{"-On", "-Oe", "-t", "2", "-r", "0"}, args[:split]...)
	full = append(append(full, address), args[split:]...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, full...)
	cmd.Env = []string{"MIBS=", "SNMP_PERSISTENT_DIR=" + t.TempDir(), "SNMPCONFPATH=" + t.TempDir(), "PATH=/usr/bin:/bin"}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		out = append(out, said.String()...)
	}
	return strings.TrimSpace(string(out)), err
}

func alice() []string {
	return []string{"-v3", "-l", "authPriv", "-u", "alice", "-a", "SHA", "-A", "authauth1", "-x", "AES", "-X", "privpriv1"}
}

func with(login []string, more ...string) []string {
	return append(append([]string{}, login...), more...)
}

// TestReading compares what net-snmp reads with what the MIB says.
func TestReading(t *testing.T) {
	t.Parallel()
	_, address, _ := serve(t, testConfig())
	status := "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5"
	tests := []struct {
		name, tool string
		args       []string
		want       string
	}{
		{"v1 get", "snmpget", []string{"-v1", "-c", "reader", status + ".3"}, "." + status + ".3 = INTEGER: 2"},
		{"v2c get", "snmpget", []string{"-v2c", "-c", "writer", status + ".3"}, "." + status + ".3 = INTEGER: 2"},
		{"v3 authPriv get", "snmpget", with(alice(), status+".3"), "." + status + ".3 = INTEGER: 2"},
		{"v3 authNoPriv get", "snmpget", []string{"-v3", "-l", "authNoPriv", "-u", "bob", "-a", "SHA", "-A", "authauth2", status + ".3"}, "." + status + ".3 = INTEGER: 2"},
		{"v3 noAuthNoPriv get", "snmpget", []string{"-v3", "-l", "noAuthNoPriv", "-u", "carol", status + ".3"}, "." + status + ".3 = INTEGER: 2"},
		{"v2c no such row", "snmpget", []string{"-v2c", "-c", "reader", status + ".99"}, "." + status + ".99 = No Such Instance currently exists at this OID"},
		{"v2c no such table", "snmpget", []string{"-v2c", "-c", "reader", "1.3.6.1.4.1.9.1.0"}, ".1.3.6.1.4.1.9.1.0 = No Such Object available on this agent at this OID"},
		{"v1 walk", "snmpwalk", []string{"-v1", "-c", "reader", status}, strings.Join([]string{
			"." + status + ".1 = INTEGER: 2", "." + status + ".2 = INTEGER: 2", "." + status + ".3 = INTEGER: 2", "." + status + ".4 = INTEGER: 2"}, "\n")},
		{"v3 bulk walk", "snmpbulkwalk", with(alice(), "1.3.6.1.4.1.318.1.1.26.9.2.1.1.3"), strings.Join([]string{
			".1.3.6.1.4.1.318.1.1.26.9.2.1.1.3.1 = STRING: \"Outlet 1\"", ".1.3.6.1.4.1.318.1.1.26.9.2.1.1.3.2 = STRING: \"Outlet 2\"",
			".1.3.6.1.4.1.318.1.1.26.9.2.1.1.3.3 = STRING: \"Outlet 3\"", ".1.3.6.1.4.1.318.1.1.26.9.2.1.1.3.4 = STRING: \"Outlet 4\""}, "\n")},
		{"object identifier", "snmpget", []string{"-v2c", "-c", "reader", "1.3.6.1.2.1.1.2.0"}, ".1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.318.1.3.4.6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := snmp(t, tt.tool, address, tt.args...)
			if err != nil {
				t.Fatalf("%s: %v: %s", tt.tool, err, got)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefusals has net-snmp name each refusal.
func TestRefusals(t *testing.T) {
	t.Parallel()
	a, address, _ := serve(t, testConfig())
	control, status := "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.2", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.2"
	tests := []struct {
		name, tool string
		args       []string
		want       string
	}{
		{"unknown community", "snmpget", []string{"-v2c", "-c", "wrong", status}, "Timeout"},
		{"empty community", "snmpget", []string{"-v1", "-c", "", status}, "Timeout"},
		{"v3 wrong password", "snmpget", []string{"-v3", "-l", "authNoPriv", "-u", "bob", "-a", "SHA", "-A", "wrongwrong", status}, "Authentication failure"},
		{"v3 unknown user", "snmpget", []string{"-v3", "-l", "noAuthNoPriv", "-u", "mallory", status}, "Unknown user name"},
		{"v3 too low a level", "snmpget", []string{"-v3", "-l", "noAuthNoPriv", "-u", "alice", status}, "Unsupported security level"},
		{"v1 no such row", "snmpget", []string{"-v1", "-c", "reader", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.99"}, "noSuchName"},
		{"set with the reading community", "snmpset", []string{"-v2c", "-c", "reader", control, "i", "2"}, "noAccess"},
		{"set by a reading user", "snmpset", []string{"-v3", "-l", "authNoPriv", "-u", "bob", "-a", "SHA", "-A", "authauth2", control, "i", "2"}, "noAccess"},
		{"set of a reading", "snmpset", []string{"-v2c", "-c", "writer", status, "i", "2"}, "notWritable"},
		{"set of nothing", "snmpset", []string{"-v2c", "-c", "writer", "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.99", "i", "2"}, "noCreation"},
		{"set of a wrong number", "snmpset", []string{"-v2c", "-c", "writer", control, "i", "4"}, "wrongValue"},
		{"set of a wrong type", "snmpset", []string{"-v2c", "-c", "writer", control, "s", "off"}, "wrongType"},
		{"v1 set of a wrong number", "snmpset", []string{"-v1", "-c", "writer", control, "i", "9"}, "badValue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := snmp(t, tt.tool, address, tt.args...)
			if err == nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %v: %s\nwant %s", err, got, tt.want)
			}
			if !a.Outlet(2) {
				t.Error("a refused request switched the outlet")
			}
		})
	}
}

// TestSwitching has every model switch by its own numbers.
func TestSwitching(t *testing.T) {
	t.Parallel()
	tests := []struct {
		model                 Model
		status, control       string
		readsOn, readsOff     string
		on, off, cycle, delay string
	}{
		{RPDU2, "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5.2", "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.2", "2", "1", "1", "2", "3", "6"},
		{RPDU, "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.2", "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.2", "1", "2", "1", "2", "3", "5"},
		{MasterSwitch, "1.3.6.1.4.1.318.1.1.4.4.2.1.3.2", "1.3.6.1.4.1.318.1.1.4.4.2.1.3.2", "1", "2", "1", "2", "3", "6"},
	}
	for _, tt := range tests {
		t.Run(string(tt.model), func(t *testing.T) {
			t.Parallel()
			cfg := testConfig()
			cfg.Model, cfg.RebootDuration = tt.model, 50*time.Millisecond
			_, address, power := serve(t, cfg)
			step := func(value, reads string, moves ...move) {
				t.Helper()
				if out, err := snmp(t, "snmpset", address, with(alice(), tt.control, "i", value)...); err != nil {
					t.Fatalf("set %s: %v: %s", value, err, out)
				}
				for _, want := range moves {
					expect(t, power, want)
				}
				out, err := snmp(t, "snmpget", address, "-v2c", "-c", "reader", "-Oqv", tt.status)
				if err != nil || out != reads {
					t.Errorf("after %s: reads %s (%v), want %s", value, out, err, reads)
				}
			}
			step(tt.off, tt.readsOff, move{2, false})
			step(tt.off, tt.readsOff)
			step(tt.on, tt.readsOn, move{2, true})
			step(tt.cycle, tt.readsOn, move{2, false}, move{2, true})
			step(tt.delay, tt.readsOff, move{2, false})
		})
	}
}

func expect(t *testing.T, power relays, want move) {
	t.Helper()
	select {
	case got := <-power:
		if got != want {
			t.Fatalf("relay moved %+v, want %+v", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no relay moved, want %+v", want)
	}
}
