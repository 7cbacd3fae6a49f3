package snmp

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/pdu/pdutest"
	"github.com/gantry-pod/gantry/plugins/conformance"
	"github.com/gantry-pod/gantry/plugins/host"
)

// buildDriver builds the driver's real binary once for all tests.
var buildDriver = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gantry-drivers-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "gantry-driver-pdu-snmp"), "github.com/gantry-pod/gantry/cmd/gantry-driver-pdu-snmp")
	cmd.Stderr = os.Stderr
	return dir, cmd.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := buildDriver(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// startHost runs a host with the driver, until the test ends.
func startHost(t testing.TB) *host.Host {
	t.Helper()
	drivers, err := buildDriver()
	if err != nil {
		t.Fatalf("build the driver: %v", err)
	}
	run, err := os.MkdirTemp("/tmp", "gr") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(host.Config{Dir: drivers, RunDir: run, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- h.Run(context.Background()) }()
	t.Cleanup(func() {
		h.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		os.RemoveAll(run)
	})
	return h
}

// labConfig is a PDU that all logins of logins may use.
func labConfig(model labpdu.Model) labpdu.Config {
	return labpdu.Config{Model: model, Outlets: 24, On: true, ReadCommunity: "look", WriteCommunity: "switch",
		Users: []labpdu.User{{Name: "alice", AuthPassword: "authauth1", PrivPassword: "privpriv1"}, {Name: "bob", AuthPassword: "authauth2"}}}
}

func logins() map[string]string {
	return map[string]string{
		"v1":            `{"version":"1","community":"look","write_community":"switch","timeout_ms":200,"settle_ms":400}`,
		"v2c":           `{"version":"2c","community":"look","write_community":"switch","timeout_ms":200,"settle_ms":400}`,
		"v3 authPriv":   `{"version":"3","user":"alice","auth_password":"authauth1","priv_password":"privpriv1","timeout_ms":200,"settle_ms":400}`,
		"v3 authNoPriv": `{"version":"3","user":"bob","auth_password":"authauth2","timeout_ms":200,"settle_ms":400}`,
	}
}

// faults puts the kit's faults into the emulated PDU.
type faults struct {
	t     *testing.T
	agent *labpdu.Agent
}

func (f faults) set(outlet string, fault labpdu.OutletFault) {
	n, err := strconv.Atoi(outlet)
	if err != nil {
		f.t.Errorf("outlet %q: %v", outlet, err)
	}
	f.agent.Fail(n, fault)
}

func (f faults) ErrorButDone(outlet string) { f.set(outlet, labpdu.ErrorButDone) }
func (f faults) Refusing(outlet string)     { f.set(outlet, labpdu.Refusing) }
func (f faults) Dead(outlet string)         { f.set(outlet, labpdu.Dead) }
func (f faults) Unreadable(outlet string)   { f.set(outlet, labpdu.Unreadable) }
func (f faults) LoseReplies(n int)          { f.agent.FailWire(labpdu.WireFault{LoseSetReplies: n}) }
func (f faults) Silent()                    { f.agent.FailWire(labpdu.WireFault{Silent: true}) }
func (f faults) Heal() {
	f.agent.FailWire(labpdu.WireFault{})
	for n := range 24 {
		f.agent.Fail(n+1, labpdu.Healthy)
	}
}

// TestConformance runs the kit through the host, the driver's process and real
// SNMP, for each model and version.
func TestConformance(t *testing.T) {
	t.Parallel()
	h := startHost(t)
	for _, model := range []labpdu.Model{labpdu.RPDU2, labpdu.RPDU, labpdu.MasterSwitch} {
		for name, login := range logins() {
			t.Run(string(model)+" "+name, func(t *testing.T) {
				t.Parallel()
				agent, address := pdutest.Start(t, labConfig(model))
				pdu := h.PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(login), Name: "lab"})
				conformance.RunPDU(t, pdu, conformance.Options{Outlet: "7", Faults: faults{t, agent}})
			})
		}
	}
}

// TestConformanceSlow runs it on a PDU whose relays take their time.
func TestConformanceSlow(t *testing.T) {
	t.Parallel()
	h := startHost(t)
	cfg := labConfig(labpdu.RPDU2)
	cfg.OnDelay, cfg.OffDelay = 600*time.Millisecond, 700*time.Millisecond
	agent, address := pdutest.Start(t, cfg)
	pdu := h.PDU("pdu-snmp", host.Target{Address: address, Config: json.RawMessage(logins()["v2c"]), Name: "lab"})
	conformance.RunPDU(t, pdu, conformance.Options{Outlet: "7", Faults: faults{t, agent}, Calls: 20})
}
