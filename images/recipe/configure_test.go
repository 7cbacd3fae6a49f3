//go:build qemu

package recipe_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// miniRoot is where mini's root file system begins: 1 MiB, BIOS boot 1, ESP 4.
const miniRoot = 6 << 20

// TestMiniIsConfigured writes the files that DESIGN.md names into the image, as
// a configurator does, and logs in to the machine that it becomes.
func TestMiniIsConfigured(t *testing.T) {
	dir := t.TempDir()
	img := filepath.Join(dir, "mini")
	if out, err := exec.Command("cp", "--sparse=always", mini(t), img).CombinedOutput(); err != nil {
		t.Fatalf("copy the image: %v\n%s", err, out)
	}
	host, hostKey := newKey(t)
	user, _ := newKey(t)
	files := []struct{ path, content, mode string }{
		{"/etc/hostname", "web7\n", "0100644"},
		{"/etc/mactab", "lan0 52:54:00:00:00:07\n", "0100644"},
		{"/etc/network/interfaces", "auto lan0\niface lan0 inet static\n\taddress 10.0.2.77\n\tnetmask 255.255.255.0\n\tgateway 10.0.2.2\n", "0100644"},
		{"/etc/ssh/ssh_host_ed25519_key", string(hostKey), "0100600"},
		{"/root/.ssh/authorized_keys", string(ssh.MarshalAuthorizedKey(user.PublicKey())), "0100600"},
	}
	var script bytes.Buffer
	for i, f := range files {
		src := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(src, []byte(f.content), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "rm %s\nwrite %s %s\nset_inode_field %s mode %s\nset_inode_field %s uid 0\n", f.path, src, f.path, f.path, f.mode, f.path)
	}
	cmd := exec.Command("debugfs", "-w", "-f", "/dev/stdin", fmt.Sprintf("%s?offset=%d", img, miniRoot))
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	port := freePort(t)
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512",
		"-display", "none", "-serial", "file:"+filepath.Join(dir, "serial"), "-monitor", "none", "-no-reboot", "-device", "virtio-rng-pci",
		"-drive", "file="+img+",format=raw,if=virtio", "-device", "virtio-net-pci,netdev=n,mac=52:54:00:00:00:07,romfile=",
		"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:127.0.0.1:%d-10.0.2.77:22", port))
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = qemu.Wait() // killed by cancel
	}()
	// This dropbear offers RSA host keys that it does not have; a client that
	// prefers them is disconnected.
	config := &ssh.ClientConfig{HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(user)}, HostKeyCallback: ssh.FixedHostKey(host.PublicKey()), Timeout: 5 * time.Second}
	for {
		out, err := runSSH(fmt.Sprintf("127.0.0.1:%d", port), config, "hostname; ip -o addr show lan0; ls /etc/dropbear")
		if err == nil {
			if !strings.HasPrefix(out, "web7\n") || !strings.Contains(out, "10.0.2.77/24") {
				t.Errorf("the machine says:\n%s", out)
			}
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(dir, "serial"))
			t.Fatalf("cannot log in: %v; its console:\n%s", err, log[max(0, len(log)-3000):])
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func runSSH(addr string, config *ssh.ClientConfig, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, config.Timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// QEMU accepts at once, whether or not the machine is there yet.
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		return "", err
	}
	c := ssh.NewClient(sc, chans, reqs)
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	out, err := s.Output(command)
	return string(out), err
}

// newKey makes a key and its OpenSSH file.
func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}
