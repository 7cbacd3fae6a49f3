package sdk

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gantry-pod/gantry/plugins/internal/handshake"
)

// orphanPoll is how often a driver looks for its host. The host also asks the
// kernel to kill the driver with it; this is for kernels and launchers that
// do not.
const orphanPoll = 500 * time.Millisecond

// hostPID returns the host's process ID as it told us, or our parent's.
func hostPID() int {
	if pid, err := strconv.Atoi(os.Getenv(handshake.HostPIDEnv)); err == nil && pid > 0 {
		return pid
	}
	return os.Getppid()
}

// dieWithHost ends the process once its parent is not the host any more: no
// driver outlives a killed appliance.
func dieWithHost(host int) {
	for os.Getppid() == host {
		time.Sleep(orphanPoll)
	}
	fmt.Fprintln(os.Stderr, "the host is gone, leaving")
	os.Exit(3)
}
