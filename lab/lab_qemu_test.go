//go:build qemu

package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab/machine"
	"github.com/gantry-pod/gantry/lab/wire"
)

// patience bounds a wait for firmware on a busy computer without KVM; promptly
// bounds what must happen at once.
const (
	patience = 90 * time.Second
	promptly = 5 * time.Second
)

// testName is a lab name that no other process of this test uses.
func testName(letter string) string { return fmt.Sprintf("%s%d", letter, os.Getpid()%1e6) }

// up brings a lab up that is gone when the test ends.
func up(t *testing.T, letter string, machines ...machine.Spec) *Lab {
	t.Helper()
	l, err := Up(t.Context(), Config{
		Name: testName(letter), StateDir: t.TempDir(), Machines: machines,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		checkGone(t, l.cfg.Name)
	})
	return l
}

// checkGone fails if anything of a lab but its state is left.
func checkGone(t *testing.T, name string) {
	t.Helper()
	l2, app := wire.Names(name)
	for _, path := range []string{"/run/netns/" + l2, "/run/netns/" + app, RunDir(name), RunDir(name) + ".lock"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", path, err)
		}
	}
}

// waitState waits until a machine is in a state.
func waitState(t *testing.T, m *machine.Machine, want machine.State, bound time.Duration) machine.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	status, err := m.Wait(ctx, func(s machine.Status) bool { return s.State == want })
	if err != nil {
		t.Fatalf("wait for %s: %v (%s)", want, err, status.Reason)
	}
	return status
}

// TestFirmwareNetworkBootsWithTheOutlet switches a BIOS and a UEFI machine on,
// and waits for what only a living firmware does.
func TestFirmwareNetworkBootsWithTheOutlet(t *testing.T) {
	t.Parallel()
	l := up(t, "f",
		machine.Spec{Firmware: machine.BIOS, CPUs: 1, MemoryMiB: 256},
		machine.Spec{Firmware: machine.UEFI, CPUs: 1, MemoryMiB: 256, Disks: []machine.Disk{{Bus: "nvme"}, {Bus: "ahci", Rotational: true}, {Bus: "scsi"}}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	heard := make(chan error, len(l.Machines()))
	for i, m := range l.Machines() {
		go func() { heard <- l.Wire().DHCPClient(ctx, wire.Prov, m.Spec().NICs[0].MAC) }()
		if err := l.Outlet(i + 1).Set(true); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range l.Machines() {
		if err := <-heard; err != nil {
			t.Error(err)
		}
		t.Logf("a firmware asks DHCP after %v", time.Since(began).Round(time.Millisecond))
	}
	for name, shows := range map[string]string{"m1": `iPXE|SeaBIOS`, "m2": `PXE`} {
		if _, err := l.Machine(name).Console().Wait(ctx, regexp.MustCompile(shows)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Power off: the process is gone at once.
	for i, m := range l.Machines() {
		pid := m.Status().PID
		cut := time.Now()
		if err := l.Outlet(i + 1).Set(false); err != nil {
			t.Fatal(err)
		}
		waitState(t, m, machine.Off, promptly)
		t.Logf("%s was off after %v", m.Spec().Name, time.Since(cut).Round(time.Millisecond))
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s is off and its QEMU %d is there: %v", m.Spec().Name, pid, err)
		}
	}
}

// TestTwoFeeds holds that either feed is enough, and that cutting both, however
// briefly, starts the machine afresh.
func TestTwoFeeds(t *testing.T) {
	t.Parallel()
	l := up(t, "d", machine.Spec{CPUs: 1, MemoryMiB: 128, Outlets: []int{3, 4}})
	m := l.Machine("m1")
	press := func(outlet int, on bool) {
		t.Helper()
		if err := l.Outlet(outlet).Set(on); err != nil {
			t.Fatal(err)
		}
	}
	press(3, true)
	first := waitState(t, m, machine.On, promptly)
	press(4, true)
	press(3, false)
	waitFeeds(t, m, map[int]bool{3: false, 4: true})
	if s := m.Status(); s.PID != first.PID || s.State != machine.On {
		t.Errorf("after one feed went off: %+v, want process %d", s, first.PID)
	}
	press(4, false)
	press(4, true)
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	again, err := m.Wait(ctx, func(s machine.Status) bool { return s.PowerOns == 2 && s.State == machine.On })
	if err != nil || again.PID == first.PID {
		t.Errorf("after both feeds were off for a moment: %+v, %v", again, err)
	}

	// A QEMU that dies is not revived by the lab: only a power cycle helps.
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if s := waitState(t, m, machine.Failed, promptly); s.Reason == "" || s.PowerOns != 2 {
		t.Errorf("killed: %+v", s)
	}
	press(4, false)
	waitState(t, m, machine.Off, promptly)
}

// waitFeeds waits until the machine has seen the outlets so.
func waitFeeds(t *testing.T, m *machine.Machine, want map[int]bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	if _, err := m.Wait(ctx, func(machine.Status) bool {
		fed := m.Fed()
		return fed[3] == want[3] && fed[4] == want[4]
	}); err != nil {
		t.Fatal(err)
	}
}

// TestFaults holds that each fault acts, by measuring it.
func TestFaults(t *testing.T) {
	t.Parallel()
	l := up(t, "x", machine.Spec{CPUs: 1, MemoryMiB: 128})
	m, ctx := l.Machine("m1"), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Break(ctx, Fault{Kind: HungFirmware, Target: "m1"}))
	must(l.Break(ctx, Fault{Kind: SlowDisk, Target: "m1", Value: "5MB/s"}))
	must(l.Outlet(1).Set(true))
	waitState(t, m, machine.Hung, promptly)
	wantSpeed(t, m, 5e6)
	if text := m.Console().Text(); text != "" {
		t.Errorf("a hung firmware says %q", text)
	}
	must(l.Break(ctx, Fault{Kind: SlowDisk, Target: "m1", Value: "2MB/s"}))
	wantSpeed(t, m, 2e6)
	must(l.Mend(ctx))
	wantSpeed(t, m, 0)
	if got := l.Faults(); len(got) != 0 {
		t.Errorf("after clear: %+v", got)
	}

	// Mended, it starts at the next power-on; all frames lost, none arrives.
	must(l.Outlet(1).Set(false))
	waitState(t, m, machine.Off, promptly)
	must(l.Break(ctx, Fault{Kind: LossyWire, Target: "m1", Value: "100%"}))
	must(l.Outlet(1).Set(true))
	waitState(t, m, machine.On, promptly)
	lost := waitLoss(t, l)
	t.Logf("lost %+v", lost)
	must(l.Mend(ctx))
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	must(l.Wire().DHCPClient(bounded, wire.Prov, m.Spec().NICs[0].MAC))
	must(l.SetPlugged(ctx, "m1", false))
	if !m.Status().Unplugged {
		t.Error("unplugged, and its status does not say so")
	}

	must(l.Break(ctx, Fault{Kind: DeadOutlet, Target: "1"}))
	for _, bad := range []Fault{
		{Kind: "gremlins", Target: "m1"}, {Kind: SlowDisk, Target: "m9", Value: "1MB/s"},
		{Kind: DeadOutlet, Target: "99"}, {Kind: LossyWire, Target: "m1", Value: "101%"},
	} {
		if err := l.Break(ctx, bad); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrBadFault) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// wantSpeed polls QEMU, whose monitor may just be starting, for its disk's limit.
func wantSpeed(t *testing.T, m *machine.Machine, want int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), promptly*4)
	defer cancel()
	for {
		speeds, err := m.DiskSpeeds(ctx)
		if err == nil && len(speeds) == 1 && speeds[0] == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("disk speed %v, %v; want %d", speeds, err, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitLoss polls until the lossy cable has dropped a frame of the machine's.
func waitLoss(t *testing.T, l *Lab) wire.Loss {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		loss, err := l.Wire().Loss(ctx, "t1n0")
		if err != nil {
			t.Fatal(err)
		}
		if loss.FromMachine > 0 {
			return loss
		}
		select {
		case <-ctx.Done():
			t.Fatal("no frame was lost")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestOneLabAName holds that a name is held by one, and what a second is told.
func TestOneLabAName(t *testing.T) {
	t.Parallel()
	l := up(t, "n")
	if _, err := Up(t.Context(), Config{Name: l.cfg.Name, StateDir: t.TempDir()}); !errors.Is(err, ErrHeld) {
		t.Errorf("second lab: %v, want %v", err, ErrHeld)
	}
	if err := Sweep(t.Context(), l.cfg.Name, false); !errors.Is(err, ErrHeld) {
		t.Errorf("sweep of a lab that is up: %v, want %v", err, ErrHeld)
	}
	if _, err := os.Stat(filepath.Join("/run/netns", "gl-"+l.cfg.Name+"-wire")); err != nil {
		t.Error(err)
	}
}
