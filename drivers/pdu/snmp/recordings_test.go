package snmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/plugins/conformance"
	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/host"
)

// recordings finds the folder with the recordings of real devices. They are not
// ours to ship: who has none passes without them.
func recordings(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GANTRY_SNMPREC")
	asked := dir != ""
	if !asked {
		dir = filepath.Join("..", "..", "..", "..", "shared", "snmprec") // beside the repository
	}
	dir, err := filepath.Abs(filepath.Join(dir, "pdu"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		say := t.Skipf
		if asked {
			say = t.Fatalf
		}
		say("the recordings of real PDUs are not there: set GANTRY_SNMPREC to the folder that holds pdu/*.snmprec: %v", err)
	}
	return dir
}

// replay has Debian's snmpsim replay the recordings; a community names a file.
func replay(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("snmpsimd"); err != nil {
		t.Fatal("snmpsimd is missing: apt-get install snmpsim")
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	cache, err := os.MkdirTemp("", "snmpsim-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cache, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data-dir=" + dir, "--cache-dir=" + cache, "--agent-udpv4-endpoint=" + address, "--logging-method=null"}
	if os.Geteuid() == 0 {
		args = append(args, "--process-user=nobody", "--process-group=nogroup")
	}
	cmd := exec.Command("snmpsimd", args...)
	cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore")
	cmd.Dir = cache
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(cache)
	})
	return address
}

func recorded(address, file, version string) host.Target {
	return host.Target{Address: address, Name: file, Config: json.RawMessage(fmt.Sprintf(`{"version":%q,"community":%q,"timeout_ms":5000}`, version, file))}
}

// TestRecordings reads what real APC devices answered.
func TestRecordings(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	address := replay(t, dir)
	h := startHost(t)
	tests := []struct {
		file     string
		versions []string
		want     host.Identity
	}{
		{"apc-7902b", []string{"1", "2c"}, host.Identity{Vendor: "APC", Model: "AP7902B", Serial: "5A1551F39430", Firmware: "6.7.2", Name: "pwr-dc01-pdu-rack01-01",
			Family: "rPDU2", CanSet: true, CanCycle: true, TellsMoves: true, Outlets: 16, ParallelCalls: 1}},
		{"apc-8641", []string{"2c"}, host.Identity{Vendor: "APC", Model: "AP8641", Serial: "3F3452A52295", Firmware: "6.7.2", Name: "pwr-dc01-pdu-rack1-01",
			Family: "rPDU2", CanSet: true, CanCycle: true, TellsMoves: true, Outlets: 24, ParallelCalls: 1}},
		{"apc_masterswitch2", []string{"1", "2c"}, host.Identity{Vendor: "APC", Name: "<private>",
			Family: "MasterSwitch", CanSet: true, CanCycle: true, TellsMoves: true, Outlets: 8, ParallelCalls: 1}},
	}
	for _, tt := range tests {
		for _, version := range tt.versions {
			t.Run(tt.file+" v"+version, func(t *testing.T) {
				pdu := h.PDU("pdu-snmp", recorded(address, tt.file, version))
				ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
				defer cancel()
				awaitReplay(t, ctx, pdu)
				got, err := pdu.Probe(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("identity (-want +got):\n%s", diff)
				}
				conformance.RunPDU(t, pdu, conformance.Options{Volatile: tt.file != "apc_masterswitch2", Calls: 20})
				compareWithFile(t, ctx, pdu, filepath.Join(dir, tt.file+".snmprec"), got.Family)
			})
		}
	}
}

// awaitReplay waits for snmpsim, which indexes its files first.
func awaitReplay(t *testing.T, ctx context.Context, pdu host.PDU) {
	t.Helper()
	for {
		_, err := pdu.Probe(ctx)
		if err == nil {
			return
		}
		if e := device.AsError(err); !e.Retryable || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// compareWithFile compares the list with the recording's own lines.
func compareWithFile(t *testing.T, ctx context.Context, pdu host.PDU, file, familyName string) {
	t.Helper()
	all := families()
	f := all[slices.IndexFunc(all, func(f family) bool { return f.name == familyName })]
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]device.State{}
	doctored := false
	for line := range strings.Lines(string(raw)) {
		oid, rest, _ := strings.Cut(strings.TrimSpace(line), "|")
		kind, value, _ := strings.Cut(rest, "|")
		if index, ok := strings.CutPrefix(oid, f.status+"."); ok {
			var n int
			fmt.Sscan(value, &n)
			want[index] = f.statusValues[n]
			doctored = doctored || kind != "2"
		}
	}
	outlets, err := pdu.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(outlets) != len(want) {
		t.Errorf("%d outlets are listed, %d recorded", len(outlets), len(want))
	}
	for _, o := range outlets {
		state, ok := want[o.ID]
		if !ok || o.Label == "" || o.Number == 0 {
			t.Errorf("outlet %+v is not as recorded", o)
		}
		switch {
		case doctored && o.State != device.StateOn && o.State != device.StateOff: // upstream has its value wander between 1 and 2
			t.Errorf("outlet %s reads %s", o.ID, o.State)
		case !doctored && o.State != state:
			t.Errorf("outlet %s reads %s, recorded is %s", o.ID, o.State, state)
		}
	}
}
