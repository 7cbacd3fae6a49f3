package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

// TestKilledInCall kills a driver while it works on a call: that call fails
// with its state unknown, and the next one works.
func TestKilledInCall(t *testing.T) {
	t.Parallel()
	h := run(t, quick(t, installDrivers(t, "good"), t.Output()))
	pid := ready(t, h, "good").PID
	pdu := h.PDU("good", target())
	failed := make(chan error, 1)
	go func() {
		_, err := pdu.Get(t.Context(), "slow")
		failed <- err
	}()
	until(t, "the call in flight", func() bool {
		h.drivers["good"].mu.Lock()
		defer h.drivers["good"].mu.Unlock()
		return h.drivers["good"].live != nil && h.drivers["good"].live.active.Load() == 1
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-failed
	if e := device.AsError(err); e == nil || e.Reason != device.Unreachable || !e.Retryable || e.StateKnown {
		t.Errorf("the killed call failed with %+v, want unreachable, retryable, state unknown", e)
	}
	if state, err := pdu.Get(t.Context(), "1"); err != nil || state != device.StateOff {
		t.Errorf("the next call: %v, %v", state, err)
	}
	if s := statusOf(t, h, "good"); s.Restarts != 1 || s.PID == pid || s.LastError == "" || s.Version != "1.2.3" {
		t.Errorf("after one kill: %+v", s)
	}
}

// TestHang stops a driver dead (SIGSTOP): it is noticed and replaced, and
// other drivers' calls go on meanwhile.
func TestHang(t *testing.T) {
	t.Parallel()
	h := run(t, quick(t, installDrivers(t, "good", "other"), t.Output()))
	pid := ready(t, h, "good").PID
	ready(t, h, "other")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := h.PDU("other", target()).Get(t.Context(), "1"); err != nil {
			t.Fatalf("a hanging driver hurts another: %v", err)
		}
	}
	until(t, "the hanging driver replaced", func() bool { s := statusOf(t, h, "good"); return s.State == DriverReady && s.PID != pid })
	if s := statusOf(t, h, "good"); !strings.Contains(s.LastError, "hangs") {
		t.Errorf("last error %q does not tell of a hang", s.LastError)
	}
	if _, err := h.PDU("good", target()).Get(t.Context(), "1"); err != nil {
		t.Errorf("after the hang: %v", err)
	}
}

// TestDeafCall has a call that ignores its deadline: the caller does not.
func TestDeafCall(t *testing.T) {
	t.Parallel()
	cfg := quick(t, installDrivers(t, "good"), t.Output())
	cfg.CallTimeout = 200 * time.Millisecond
	h := run(t, cfg)
	ready(t, h, "good")
	begun := time.Now()
	_, err := h.PDU("good", target()).Get(t.Context(), "deaf")
	if reasonOf(err) != device.Unreachable || time.Since(begun) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	if _, err := h.PDU("good", target()).Get(t.Context(), "1"); err != nil {
		t.Errorf("after a deaf call: %v", err)
	}
}

// TestNoise launches drivers that print on standard output, before the
// handshake without a line's end and after it, and that flood their log.
func TestNoise(t *testing.T) {
	t.Parallel()
	var log logBuffer
	cfg := quick(t, installDrivers(t, "noisy", "flood"), &log)
	cfg.LogLines = 20
	h := run(t, cfg)
	begun := time.Now()
	for _, name := range []string{"noisy", "flood"} {
		ready(t, h, name)
		for range 50 {
			if _, err := h.PDU(name, target()).Get(t.Context(), "1"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	until(t, "drops told", func() bool { return strings.Contains(log.String(), "lines were dropped") })
	lines := strings.Count(log.String(), `text="flood`)
	if most := 80 + 20*int(time.Since(begun)/time.Second+1); lines > most {
		t.Errorf("%d lines of a flood were logged in %v, want at most %d", lines, time.Since(begun), most)
	}
	if !strings.Contains(log.String(), "hello, I am a noisy driver") {
		t.Error("the noise is not in the log")
	}
}

// TestBadDrivers has drivers that must not come up, each with its reason.
func TestBadDrivers(t *testing.T) {
	t.Parallel()
	cfg := quick(t, installDrivers(t, "crash", "misnamed", "mute", "good"), t.Output())
	cfg.StartTimeout, cfg.BreakAfter = 2*time.Second, 3
	h := run(t, cfg)
	for name, why := range map[string]string{"crash": "no handshake", "misnamed": "calls itself", "mute": "not up within 2s"} {
		until(t, name+" broken", func() bool { return statusOf(t, h, name).State == DriverBroken })
		s := statusOf(t, h, name)
		if !strings.Contains(s.LastError, why) {
			t.Errorf("%s: last error %q does not tell why (%s)", name, s.LastError, why)
		}
		if s.Restarts != 2 {
			t.Errorf("%s: %d restarts before it was given up, want 2", name, s.Restarts)
		}
		begun := time.Now()
		if _, err := h.PDU(name, target()).Get(t.Context(), "1"); reasonOf(err) != device.Unreachable || time.Since(begun) > time.Second {
			t.Errorf("%s: a call on a broken driver took %v: %v", name, time.Since(begun), err)
		}
	}
	if _, err := h.PDU("good", target()).Get(t.Context(), "1"); err != nil {
		t.Errorf("bad drivers hurt a good one: %v", err)
	}
}

// TestPins refuses a binary that is not listed, is listed otherwise, or is
// replaced while the host runs.
func TestPins(t *testing.T) {
	t.Parallel()
	listed := installDrivers(t, "good", "unlisted", "altered")
	self, sum, err := openPinned(filepath.Join(listed, BinaryPrefix+"good"), nil)
	if err != nil {
		t.Fatal(err)
	}
	self.Close()
	list := fmt.Sprintf("%x  %sgood\n%064x *%saltered\n", sum, BinaryPrefix, 1, BinaryPrefix)
	if err := os.WriteFile(filepath.Join(listed, pinFile), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	h := run(t, quick(t, listed, t.Output()))
	ready(t, h, "good")
	for _, name := range []string{"unlisted", "altered"} {
		until(t, name+" refused", func() bool { return statusOf(t, h, name).State == DriverRefused })
		if s := statusOf(t, h, name); !strings.Contains(s.LastError, "checksum refused") || s.PID != 0 || s.Restarts != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		if _, err := h.PDU(name, target()).Get(t.Context(), "1"); reasonOf(err) != device.Unreachable {
			t.Errorf("%s: a call gives %v", name, err)
		}
	}

	swapped := installDrivers(t, "good")
	h = run(t, quick(t, swapped, t.Output()))
	pid := ready(t, h, "good").PID
	path := filepath.Join(swapped, BinaryPrefix+"good")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch /tmp/owned\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the replaced binary refused", func() bool { return statusOf(t, h, "good").State == DriverRefused })
}

// TestConfiguration has a wrong configuration refused before the device is
// called, without its secrets in the error.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	var log logBuffer
	h := run(t, quick(t, installDrivers(t, "good"), &log))
	tests := []struct{ config, want string }{
		{`{"password":"hunter2-hunter2","colour":"hunter2"}`, "unknown key colour"},
		{`{}`, "missing key password"},
		{``, "missing key password"},
		{`{"password":"hunter2"}`, "minLength"},
		{`{"password":7}`, "is number, must be string"},
		{`{"password":"hunter2-hunter2","level":"hunter2"}`, "enum"},
		{`{"password":"hunter2-hunter2"`, "not JSON"},
	}
	for _, tt := range tests {
		_, err := h.PDU("good", Target{Address: "192.0.2.1", Name: "pdu1", Config: json.RawMessage(tt.config)}).Get(t.Context(), "1")
		if reasonOf(err) != device.Rejected || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "pdu1") {
			t.Errorf("%s: %v, want rejected, of pdu1, with %q", tt.config, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes a secret: %v", tt.config, err)
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("a secret is in the log")
	}
}

// TestPrivacy looks for what a driver must not be given: our environment, and
// secrets where others could read them.
func TestPrivacy(t *testing.T) {
	t.Setenv("GANTRY_TEST_SECRET", "leaked")
	h := run(t, quick(t, installDrivers(t, "good"), t.Output()))
	id, err := h.PDU("good", target()).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range strings.Split(id.Name, envEnd) {
		key, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(key, "PLUGIN_") && key != "GANTRY_PLUGIN" && key != "GANTRY_HOST_PID" {
			t.Errorf("the driver's environment has %s", variable)
		}
	}
	pid := strconv.Itoa(statusOf(t, h, "good").PID)
	for _, file := range []string{"environ", "cmdline"} {
		raw, err := os.ReadFile(filepath.Join("/proc", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"leaked", "secret-word"} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("%s of the driver holds %q", file, secret)
			}
		}
	}
}

// TestHonesty refuses what contradicts itself, and names what has no reason.
func TestHonesty(t *testing.T) {
	t.Parallel()
	h := run(t, quick(t, installDrivers(t, "good"), t.Output()))
	pdu := h.PDU("good", target())
	_, err := pdu.Set(t.Context(), Change{Outlet: "liar", On: true, OperationID: "1"})
	if e := device.AsError(err); e == nil || e.Reason != device.Ambiguous || e.StateKnown {
		t.Errorf("a lie gives %+v", e)
	}
	for outlet, want := range map[string]Reason{"panic": device.Internal, "plain error": device.Internal, "short": device.Internal} {
		if _, err := pdu.Get(t.Context(), outlet); reasonOf(err) != want {
			t.Errorf("%s gives %v, want %s", outlet, err, want)
		}
	}
	_, err = pdu.Set(t.Context(), Change{Outlet: "1", On: true, OperationID: "panic"})
	if e := device.AsError(err); e == nil || e.Reason != device.Internal || e.StateKnown {
		t.Errorf("a panic in a change gives %+v", e)
	}
	if _, err := pdu.Set(t.Context(), Change{Outlet: "1", On: true, OperationID: "2"}); err != nil {
		t.Errorf("after a panic in a change of the outlet: %v", err)
	}
	if _, err := h.PDU("nobody", target()).Get(t.Context(), "1"); reasonOf(err) != device.Unsupported {
		t.Errorf("a driver that is not there gives %v", err)
	}
	if s := statusOf(t, h, "good"); s.Restarts != 0 {
		t.Errorf("a panic in a call cost the process: %+v", s)
	}
}

// TestOneChangeAtATime has many changes on one device: never two at once, and
// none of an older generation after a newer, not even across a restart.
func TestOneChangeAtATime(t *testing.T) {
	t.Parallel()
	h := run(t, quick(t, installDrivers(t, "good"), t.Output()))
	pdu := h.PDU("good", target())
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if _, err := pdu.Set(t.Context(), Change{Outlet: fmt.Sprintf("busy%d", i), On: true, OperationID: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	id, err := pdu.Probe(t.Context())
	if err != nil || id.Outlets != 1 {
		t.Errorf("%d changes at once, want 1 (%v)", id.Outlets, err)
	}
	if _, err := pdu.Set(t.Context(), Change{Outlet: "1", On: true, OperationID: "new", Generation: 9}); err != nil {
		t.Fatal(err)
	}
	pid := statusOf(t, h, "good").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "restarted", func() bool { s := statusOf(t, h, "good"); return s.State == DriverReady && s.PID != pid })
	if _, err := pdu.Set(t.Context(), Change{Outlet: "1", On: true, OperationID: "old", Generation: 8}); reasonOf(err) != device.StaleGeneration {
		t.Errorf("an old generation after a restart gives %v", err)
	}
}

// TestClose leaves no process and no socket behind, and fails later calls.
func TestClose(t *testing.T) {
	t.Parallel()
	cfg := quick(t, installDrivers(t, "good"), t.Output())
	h := run(t, cfg)
	pid := ready(t, h, "good").PID
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the driver's process %d lives on: %v", pid, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.RunDir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := h.PDU("good", target()).Get(context.Background(), "1"); reasonOf(err) != device.Unreachable {
		t.Errorf("a call after Close gives %v", err)
	}
}

// TestBrokenLinks: what cannot be opened costs no other driver.
func TestBrokenLinks(t *testing.T) {
	t.Parallel()
	dir := installDrivers(t, "good")
	for _, name := range []string{"dangling", BinaryPrefix + "gone"} {
		if err := os.Symlink("nowhere", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h := run(t, quick(t, dir, t.Output()))
	ready(t, h, "good")
	if s := statusOf(t, h, "gone"); s.State != DriverRefused || !strings.Contains(s.LastError, "no such file") {
		t.Errorf("a dangling link: %+v", s)
	}
}

// TestRunDir refuses folders in which a driver's socket would not fit.
func TestRunDir(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "relative", "/" + strings.Repeat("x", maxRunDir)} {
		cfg := quick(t, t.TempDir(), t.Output())
		cfg.RunDir = dir
		if _, err := New(cfg); err == nil {
			t.Errorf("run folder %q is taken", dir)
		}
	}
}
