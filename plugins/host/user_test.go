package host

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/plugins/device"
)

// TestUser runs a driver as a user with nothing of its own, though its binary
// lies where that user cannot go and is executed through its open file.
func TestUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it runs a driver as another user")
	}
	cfg := quick(t, installDrivers(t, "good"), t.Output())
	cfg.User = "nobody"
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	as, err := lookUpUser(cfg.User)
	if err != nil {
		t.Fatal(err)
	}
	h := run(t, cfg)
	ready(t, h, "good")
	id, err := h.PDU("good", target()).Probe(t.Context())
	want := fmt.Sprintf("user %[1]d %[1]d, group %[2]d, others []", as.Uid, as.Gid)
	if err != nil || id.Serial != want {
		t.Errorf("the driver runs as %s, want %s (%v)", id.Serial, want, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", statusOf(t, h, "good").PID))
	if err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Errorf("the driver has capabilities: %v\n%s", err, status)
	}
	if _, err := h.PDU("good", target()).Set(t.Context(), Change{Outlet: "1", On: true, OperationID: "1"}); err != nil {
		t.Error(device.AsError(err))
	}
}

// TestNoSuchUser names what is wrong with a user.
func TestNoSuchUser(t *testing.T) {
	t.Parallel()
	cfg := quick(t, t.TempDir(), t.Output())
	cfg.User = "no-such-user"
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("an unknown user: %v", err)
	}
	cfg.User = "nobody"
	closed := cfg.RunDir
	cfg.RunDir += "/drivers"
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("a run folder that it cannot reach: %v", err)
	}
}

// TestRootIsTold: drivers that run as root are warned of.
func TestRootIsTold(t *testing.T) {
	t.Parallel()
	var log logBuffer
	if _, err := New(quick(t, t.TempDir(), &log)); err != nil {
		t.Fatal(err)
	}
	if told := strings.Contains(log.String(), "drivers run as root"); told != (os.Geteuid() == 0) {
		t.Errorf("as user %d: %s", os.Geteuid(), log.String())
	}
}
