package httpboot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
)

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", args, err, out)
	}
}

// neighbour is another host on two cables: 10.67.0.2 on the far end of prov0,
// 10.68.0.2 on that of up0. It returns a way to connect to 10.67.0.1 from it.
func neighbour(t *testing.T) (dial func() error) {
	t.Helper()
	host := exec.Command("unshare", "--net", "--kill-child", "sleep", "1000")
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Process.Kill(); _ = host.Wait() })
	pid := strconv.Itoa(host.Process.Pid)
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for there := here; there == here; time.Sleep(time.Millisecond) { // until it has left ours
		if there, err = os.Readlink("/proc/" + pid + "/ns/net"); err != nil {
			t.Fatal(err)
		}
	}
	for i, dev := range []string{"prov0", "up0"} {
		prefix := fmt.Sprintf("10.%d.0.", 67+i)
		ip(t, "link add "+dev+" type veth peer name far"+strconv.Itoa(i)+" netns "+pid)
		ip(t, "addr add "+prefix+"1/24 dev "+dev)
		ip(t, "link set "+dev+" up")
		inside(t, pid, "ip addr add "+prefix+"2/24 dev far"+strconv.Itoa(i))
		inside(t, pid, "ip link set far"+strconv.Itoa(i)+" up")
	}
	return func() error {
		return exec.CommandContext(t.Context(), "nsenter", "-n", "-t", pid, "bash", "-c", "exec 3<>/dev/tcp/10.67.0.1/8067").Run()
	}
}

func inside(t *testing.T, pid, command string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nsenter", append([]string{"-n", "-t", pid}, strings.Fields(command)...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", command, err, out)
	}
}

// TestListen: who comes in on another interface is not answered, and a listener
// whose interface goes away says so and can be opened again on the next one.
func TestListen(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	dial := neighbour(t)
	addr := netip.MustParseAddrPort("10.67.0.1:8067")
	for dev, want := range map[string]bool{"prov0": true, "up0": false} {
		l, err := Listen(t.Context(), addr, dev)
		if err != nil {
			t.Fatal(err)
		}
		if err := dial(); (err == nil) != want {
			t.Errorf("through prov0 to a listener on %s: %v", dev, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
	l, err := Listen(t.Context(), addr, "prov0")
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "link del prov0")
	ip(t, "link add prov0 type bridge")
	if _, err := l.Accept(); err == nil || !strings.Contains(err.Error(), "prov0") {
		t.Errorf("its interface was made anew: %v", err)
	}
	again, err := Listen(t.Context(), addr, "prov0") // which has no address yet
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Listen(t.Context(), addr, "nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("an interface that is none: %v", err)
	}
}
