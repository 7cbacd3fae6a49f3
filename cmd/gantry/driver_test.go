package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/pdu/pdutest"
)

// TestDriverVerify checks our own driver against an emulated PDU, whole and with
// an outlet that does not move.
func TestDriverVerify(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "gantry-driver-pdu-snmp")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../gantry-driver-pdu-snmp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	agent, address := pdutest.Start(t, labpdu.Config{Model: labpdu.RPDU2, Outlets: 8, On: true, ReadCommunity: "look", WriteCommunity: "sesam"})
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("pdu.json", `{"version":"2c","community":"look","write_community":"sesam","timeout_ms":200,"settle_ms":300}`, 0o600)
	verify := func(more ...string) (int, string, string) {
		return gantry(t, append([]string{"driver", "verify", "--target", address, "--calls", "20"}, more...)...)
	}

	code, out, errs := verify(binary, "--config", config)
	if code != exitOK || !strings.Contains(out, "6 kept, 0 broken, 12 left out") || !strings.Contains(out, "left out  set ") {
		t.Errorf("reading: exit code %d\n%s%s", code, out, errs)
	}

	code, out, errs = verify(binary, "--config", config, "--outlet", "7", "-o", "json")
	var r driverReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	if code != exitOK || r.Kept != 12 || r.Broken != 0 || r.LeftOut != 6 || len(r.Checks) != 18 ||
		r.Driver != "pdu-snmp" || r.Device.Family != "rPDU2" || r.Device.Outlets != 8 || !strings.HasPrefix(r.Digest, "sha256:") {
		t.Errorf("switching: exit code %d\n%s%s", code, out, errs)
	}

	agent.Fail(7, labpdu.Dead)
	code, out, errs = verify(binary, "--config", config, "--outlet", "7", "--settle", "1s")
	if code != exitFailed || !strings.Contains(out, "broken    set ") || !strings.Contains(errs, "breaks ") {
		t.Errorf("a dead outlet: exit code %d\n%s%s", code, out, errs)
	}

	lame := write("gantry-driver-lame", "#!/bin/sh\necho hello\n", 0o755)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "does not run", []string{lame}},
		{exitUsage, "gantry-driver-NAME", []string{config}},
		{exitUsage, "no such file", []string{filepath.Join(dir, "gantry-driver-gone")}},
		{exitUsage, "it is no JSON", []string{binary, "--config", lame}},
		{exitFailed, "community", []string{binary}},
	} {
		code, out, errs := verify(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || strings.Contains(out+errs, "sesam") {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
}
