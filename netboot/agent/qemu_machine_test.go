//go:build qemu

package agent

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// machine is a QEMU machine that boots the built kernel and initramfs.
type machine struct {
	cmd    *exec.Cmd
	t0     time.Time
	exited chan struct{}

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

func (m *machine) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.Write(p)
}

func (m *machine) serial() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.String()
}

func (m *machine) since() float64 { return time.Since(m.t0).Seconds() }

const bootMAC = "52:54:00:12:34:01"

// netbootDir is where `make build` puts the kernel and initramfs.
func netbootDir(t *testing.T) string {
	t.Helper()
	d := os.Getenv("GANTRY_NETBOOT")
	if d == "" {
		d = "../../build/netboot"
	}
	if _, err := os.Stat(filepath.Join(d, "initrd.img")); err != nil {
		t.Fatalf("%v: run `go run ./netboot/build/mkinitrd` first", err)
	}
	return d
}

// boot starts a machine with the given devices; the first NIC is given here.
func boot(t *testing.T, a *testAppliance, devices ...string) *machine {
	t.Helper()
	d := netbootDir(t)
	cmdline := strings.Join([]string{"console=ttyS0 quiet loglevel=4 panic=10", os.Getenv("GANTRY_CMDLINE"), "gantry.server=" + a.guestURL(),
		"gantry.machine=m1", "gantry.token=" + bootToken, "gantry.bootif=" + bootMAC}, " ")
	args := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", filepath.Join(d, "vmlinuz"), "-initrd", filepath.Join(d, "initrd.img"), "-append", cmdline,
		"-netdev", "user,id=boot", "-device", "virtio-net-pci,netdev=boot,romfile=,mac=" + bootMAC}
	m := start(t, exec.Command("qemu-system-x86_64", append(args, devices...)...))
	select {
	case h := <-a.hello:
		t.Logf("%6.1fs hello: %+v", m.since(), h)
	case <-m.exited:
		t.Fatalf("the machine ended:\n%s", m.serial())
	case <-time.After(3 * time.Minute):
		t.Fatalf("no hello:\n%s", m.serial())
	}
	return m
}

// start starts QEMU, which ends with the test.
func start(t *testing.T, cmd *exec.Cmd) *machine {
	t.Helper()
	m := &machine{cmd: cmd, t0: time.Now(), exited: make(chan struct{})}
	m.cmd.Stdout, m.cmd.Stderr = m, m
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = m.cmd.Wait(); close(m.exited) }()
	t.Cleanup(func() { _ = m.cmd.Process.Kill(); <-m.exited })
	return m
}

// diskImage makes a disk image of size bytes and returns its -drive option.
func diskImage(t *testing.T, name string, size int64) (path string, drive []string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, []string{"-drive", "if=none,format=raw,cache=unsafe,discard=unmap,file=" + path + ",id=" + name}
}

// waitExit waits until the machine switched itself off or restarted.
func (m *machine) waitExit(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(within):
		t.Fatalf("the machine still runs:\n%s", m.serial())
	}
}
