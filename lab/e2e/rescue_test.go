//go:build qemu

package e2e

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/lab/client"
)

// TestRescue logs in to a machine's rescue system, repairs what is on its disk,
// restarts it from within, kills its agent, and ends with the machine's own system.
func TestRescue(t *testing.T) {
	t.Parallel()
	p := newPod(t, "rs", "boot: 2m, verify: 2m", small("m1"))
	p.importMini(t)
	p.accept(t, "m1")
	m := p.do(t, "m1", "deploy", p.deployment("patient"))
	p.shell(t, m, "sync")

	m = p.do(t, "m1", "rescue", map[string]any{"ssh_keys": []string{p.login.public}})
	first := p.inRescue(t, m, "id -u; mkdir -p /mnt/own && mount /dev/vda3 /mnt/own && cat /mnt/own/etc/hostname && echo repaired >/mnt/own/etc/motd && umount /mnt/own && sync; cat /proc/sys/kernel/random/boot_id")
	lines := strings.Fields(first)
	if len(lines) != 3 || lines[0] != "0" || lines[1] != "patient" {
		t.Fatalf("in rescue it says %q", first)
	}
	boot := lines[2]

	t.Run("restarted from within", func(t *testing.T) {
		p.restartsInRescue(t, m, boot, "reboot -f")
	})
	t.Run("its agent crashes", func(t *testing.T) {
		boot := p.inRescue(t, m, "cat /proc/sys/kernel/random/boot_id")
		p.restartsInRescue(t, m, boot, "kill -ABRT $(pidof gantry-agent)")
		log, err := p.api.Log(t.Context(), m.ID, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"SIGABRT: abort", "goroutine 1 ", "the agent ended: "} {
			if !strings.Contains(log, want) {
				t.Errorf("the machine's log does not have %q:\n%s", want, log[max(0, len(log)-4000):])
			}
		}
	})

	m = p.do(t, "m1", "unrescue", nil)
	if got := p.shell(t, m, "hostname; cat /etc/motd"); got != "patient\nrepaired" {
		t.Errorf("after its rescue it says %q", got)
	}
	if m.Status.State != "active" {
		t.Errorf("after its rescue it is %s", m.Status.State)
	}
}

// inRescue runs a command in a machine's rescue system, which must prove the
// host key that people are shown.
func (p *pod) inRescue(t *testing.T, m client.Machine, command string) string {
	t.Helper()
	return p.insist(t, m, func(ctx context.Context) (string, error) {
		now, err := p.api.Machine(ctx, m.ID)
		if err != nil {
			return "", err
		}
		known := regexp.MustCompile(`SHA256:\S+`).FindAllString(now.Status.Reason, -1)
		if now.Status.State != "rescue" || len(known) == 0 {
			return "", errors.New("it is " + now.Status.State + ": " + now.Status.Reason)
		}
		return p.shellOnce(ctx, m, &ssh.ClientConfig{User: "root", HostKeyCallback: isOneOf(known)}, command)
	})
}

// restartsInRescue runs a command in a rescue system of that boot which restarts
// the machine, and waits for the boot that follows, again a rescue system.
func (p *pod) restartsInRescue(t *testing.T, m client.Machine, boot, command string) {
	t.Helper()
	config := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey()} // it was proved just now
	_, _ = p.shellOnce(t.Context(), m, config, command)                                     // it never answers
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if now := p.inRescue(t, m, "cat /proc/sys/kernel/random/boot_id"); now != boot {
			return
		}
	}
	t.Fatal("it does not restart")
}
