package host

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// runDoomedHost runs a host, tells its driver's process ID, and waits to be
// killed.
func runDoomedHost(dir string) {
	h, err := New(Config{Dir: dir, RunDir: os.Getenv("GANTRY_TEST_RUN_DIR"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go h.Run(context.Background())
	for {
		if s := h.Drivers()[0]; s.State == DriverReady {
			fmt.Println(s.PID)
			select {}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestOrphan kills a host with SIGKILL: its driver does not outlive it.
func TestOrphan(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick(t, installDrivers(t, "good"), t.Output())
	doomed := exec.Command(self)
	doomed.Env = append(os.Environ(), "GANTRY_TEST_DOOMED_HOST="+cfg.Dir, "GANTRY_TEST_RUN_DIR="+cfg.RunDir)
	doomed.Stderr = t.Output()
	out, err := doomed.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := doomed.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the host said nothing: %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the host said %q", line)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the driver %d is not there: %v", pid, err)
	}
	if err := doomed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	doomed.Wait()
	until(t, "the orphan dead", func() bool { return gone(pid) })
}

// gone says whether a process has ended, reaped or not.
func gone(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	var id int
	var name, state string
	fmt.Sscan(string(raw), &id, &name, &state)
	return state == "Z"
}
