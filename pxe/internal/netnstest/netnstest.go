// Package netnstest runs a test in a network namespace of its own, by running
// the test binary again inside one. Whatever the test makes there goes away
// with that process, even if it is killed.
package netnstest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

const variable = "GANTRY_TEST_NETNS"

// Inside reports whether the test is to do its work. Called by a test at its
// start, outside a namespace it runs the same test in a new one, with the
// loopback interface up, copies its outcome and returns false. It needs root.
func Inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(variable) == t.Name() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatalf("loopback interface: %v", err)
		}
		return true
	}
	var pattern []string
	for _, part := range strings.Split(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.count=1", "-test.run="+strings.Join(pattern, "/"))
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("in a network namespace (needs root):\n%s", out)
	if err != nil {
		t.Fatalf("in a network namespace: %v", err)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatal("the test did not run in its network namespace")
	}
	return false
}
