//go:build qemu

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/proc"
)

// asGantry makes this test's program behave as gantry: `gantry lab up` starts
// its own program again as the supervisor.
const asGantry = "GANTRY_TEST_AS_GANTRY"

func TestMain(m *testing.M) {
	if os.Getenv(asGantry) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command runs gantry in a process of its own.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asGantry+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// labStatus asks a lab for its status.
func labStatus(t *testing.T, name string) (s lab.Status) {
	t.Helper()
	code, stdout, stderr := command(t, "lab", "status", "--name", name, "-o", "json")
	if code != exitOK {
		t.Fatalf("status: exit code %d: %s", code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLabCommands brings a lab up, uses it, kills its supervisor with SIGKILL,
// and holds that everything dies with it and `down` leaves nothing behind.
func TestLabCommands(t *testing.T) {
	name := fmt.Sprintf("c%d", os.Getpid()%1e6)
	state := filepath.Join(t.TempDir(), "state")
	t.Cleanup(func() { command(t, "lab", "down", "--name", name) })
	upArgs := []string{"lab", "up", "--name", name, "--state", state, "--machines", "2", "--ssh-port", "0", "--memory", "128", "--disk", "1"}
	expect := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := command(t, args...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("gantry %s: exit code %d, want %d and %q:\n%s%s", strings.Join(args, " "), code, want, says, stdout, stderr)
		}
	}
	expect(exitOK, "m2       uefi", upArgs...)
	expect(exitOK, "m2       uefi", upArgs...)
	expect(exitRefused, "another configuration", append(upArgs, "--cpus", "1")...)

	expect(exitOK, "", "lab", "power", "on", "1", "--name", name)
	expect(exitOK, "1       on     m1", "lab", "power", "--name", name)
	expect(exitOK, "", "lab", "fault", "slow-disk", "m1", "5MB/s", "--name", name)
	expect(exitOK, "", "lab", "fault", "unknown-outlet", "2", "--name", name)
	expect(exitOK, "", "lab", "unplug", "m1", "--name", name)
	expect(exitNotFound, "machine", "lab", "unplug", "m9", "--name", name)
	expect(exitNotFound, "outlet", "lab", "fault", "dead-outlet", "99", "--name", name)
	expect(exitUsage, "bad fault", "lab", "fault", "lossy-wire", "m1", "lots", "--name", name)
	expect(exitRefused, "no appliance", "lab", "appliance", "kill", "--name", name)
	status := labStatus(t, name)
	m1 := status.Machines[0]
	if m1.State != "on" || !m1.Unplugged || m1.DiskBytesPerSecond != 5e6 || len(status.Faults) != 2 {
		t.Errorf("m1 is %+v, faults %+v", m1, status.Faults)
	}

	supervisor, errSup := proc.Of(status.PID)
	qemu, errQEMU := proc.Of(m1.PID)
	if err := errors.Join(errSup, errQEMU, supervisor.Signal(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, id := range []proc.ID{supervisor, qemu} {
		if err := id.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	expect(exitUnreachable, "not up", "lab", "status", "--name", name)

	// A lab that was killed does not stand in the way of the next one.
	expect(exitOK, "m1       bios", upArgs...)
	next, err := proc.Of(labStatus(t, name).PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		expect(exitOK, "is down", "lab", "down", "--name", name, "--state", state)
	}
	for _, path := range []string{state, lab.RunDir(name), "/run/netns/gl-" + name + "-wire", "/run/netns/gl-" + name + "-app"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", path, err)
		}
	}
}

// TestLabDownOfALivingLab takes one down that nobody killed, and keeps its files.
func TestLabDownOfALivingLab(t *testing.T) {
	name := fmt.Sprintf("k%d", os.Getpid()%1e6)
	state := filepath.Join(t.TempDir(), "state")
	// An appliance that runs when the lab is ready must not hold `up` back.
	appliance := filepath.Join(t.TempDir(), "appliance")
	if err := os.WriteFile(appliance, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command(t, "lab", "down", "--name", name) })
	if code, stdout, stderr := command(t, "lab", "up", "--name", name, "--state", state, "--ssh-port", "0", "--api-port", "0",
		"--appliance", appliance); code != exitOK || !strings.Contains(stdout, "appliance: process") {
		t.Fatal(code, stdout, stderr)
	}
	supervisor, err := proc.Of(labStatus(t, name).PID)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t, "lab", "down", "--name", name, "--keep"); code != exitOK || !strings.Contains(stderr, state) {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if supervisor.Alive() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := supervisor.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(state, "machines", "m1", "disk0.raw")); err != nil {
		t.Errorf("the disk was not kept: %v", err)
	}
	if _, err := os.Stat(lab.RunDir(name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind: %v", lab.RunDir(name), err)
	}
}
