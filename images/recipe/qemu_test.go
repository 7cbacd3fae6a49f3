//go:build qemu

package recipe_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// build makes an image with the recipe, as `make` does.
func build(t *testing.T, kind, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./build.sh", kind, out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh %s: %v\n%s", kind, err, msg)
	}
}

// TestMiniIsReproducible builds twice and compares every byte.
func TestMiniIsReproducible(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	build(t, "mini", a)
	build(t, "mini", b)
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("two builds differ")
	}
}

// mini is the image that `make build` made.
func mini(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../build/images/mini.raw")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; make build makes it", err)
	}
	return path
}

// TestMiniBoots starts the image on the disks and NICs that the end-to-end tests
// do not have, under both firmwares, and waits for its SSH server.
func TestMiniBoots(t *testing.T) {
	for _, m := range []machine{
		{"bios", "ide-hd", "e1000"}, {"bios", "nvme", "e1000e"},
		{"uefi", "nvme", "e1000e"}, {"uefi", "nvme", "e1000"},
	} {
		t.Run(fmt.Sprint(m), func(t *testing.T) { m.boot(t, mini(t), 10*time.Minute) })
	}
}

// machine is what QEMU emulates; AHCI is q35's own.
type machine struct{ firmware, disk, nic string }

// boot starts the machine on a snapshot of the image until SSH answers.
func (m machine) boot(t *testing.T, img string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	port := freePort(t)
	args := []string{
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-display", "none",
		"-serial", "stdio", "-monitor", "none", "-no-reboot", "-device", "virtio-rng-pci",
		"-drive", "file=" + img + ",format=raw,if=none,id=d,snapshot=on,cache=unsafe",
		"-device", m.disk + ",drive=d" + map[bool]string{true: ",serial=x"}[m.disk == "nvme"],
		"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:127.0.0.1:%d-:22", port), "-device", m.nic + ",netdev=n,romfile=",
	}
	if m.firmware == "uefi" {
		vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
		if err != nil {
			t.Fatalf("package ovmf is needed: %v", err)
		}
		own := filepath.Join(t.TempDir(), "vars")
		if err := os.WriteFile(own, vars, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,file="+own)
	}
	serial, err := os.Create(filepath.Join(t.TempDir(), "serial"))
	if err != nil {
		t.Fatal(err)
	}
	defer serial.Close()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stdout, cmd.Stderr = serial, serial
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("package qemu-system-x86 is needed: %v", err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // killed by cancel
	}()
	for {
		if banner := sshBanner(port); strings.HasPrefix(banner, "SSH-2.0-") {
			t.Logf("%v: %s after %.1f s", m, strings.TrimSpace(banner), time.Since(began).Seconds())
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(serial.Name())
			t.Fatalf("%v: no SSH after %s; its console:\n%s", m, limit, log[max(0, len(log)-3000):])
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sshBanner is the server's first line (RFC 4253, 4.2), or nothing yet.
func sshBanner(port int) string {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 2*time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return ""
	}
	b := make([]byte, 8)
	n, _ := io.ReadFull(c, b)
	if n < len(b) {
		return ""
	}
	rest := make([]byte, 64)
	k, _ := c.Read(rest)
	return string(b) + string(rest[:k])
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
