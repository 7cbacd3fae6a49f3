//go:build qemu

package e2e

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab/machine"
)

// TestDebian deploys the Debian 12 image, which `make images` makes.
func TestDebian(t *testing.T) {
	t.Parallel()
	debian(t, "db", machine.Spec{Name: "m1", Firmware: machine.BIOS, CPUs: 2, MemoryMiB: 1024, Disks: []machine.Disk{{Bytes: 4 << 30}}})
}

// debian deploys Debian 12 to a machine and looks at it from within: the user of
// the deployment may log in and become root, the names are right, the root file
// system has the disk's size, and nothing failed to start.
func debian(t *testing.T, letter string, spec machine.Spec) {
	t.Helper()
	p := newPod(t, letter, "boot: 5m, verify: 8m", spec)
	path := built(t, "images/debian-12.raw")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.api.Import(ctx, path, "debian-12", "12"); err != nil {
		t.Fatal(err)
	}
	p.accept(t, spec.Name)
	request := p.deployment("web1.example.com")
	request["image"] = "debian-12:12"
	began := time.Now()
	m := p.do(t, spec.Name, "deploy", request)
	t.Logf("%s: Debian answers %.0f s after it was asked for", spec.Firmware, time.Since(began).Seconds())

	for command, want := range map[string]string{
		"hostname --fqdn": "web1.example.com",
		"whoami":          "admin",
		"sudo -n id -u":   "0",
		". /etc/os-release; echo $ID $VERSION_ID":            "debian 12",
		"systemctl --failed --no-legend --plain":             "",
		"ip -4 -o addr show scope global | grep -c .":        "1",
		"[ -d /sys/firmware/efi ] && echo uefi || echo bios": string(spec.Firmware),
		"sudo -n passwd --status root | cut -d' ' -f2":       "L",
	} {
		if got := p.shell(t, m, command); got != want {
			t.Errorf("%s says %q, want %q", command, got, want)
		}
	}
	if got := p.shell(t, m, "ip -4 -o addr show scope global"); !strings.Contains(got, m.Address.String()+"/24") {
		t.Errorf("it has the addresses %s", got)
	}
	if got := p.shell(t, m, "cloud-init status --wait --long || true"); !strings.Contains(got, "status: done") {
		t.Errorf("cloud-init says\n%s\n%s", got, p.shell(t, m, "sudo -n grep -E 'WARN|ERROR' /var/log/cloud-init.log || true"))
	}
	df := p.shell(t, m, "df --output=size --block-size=1 / | tail -1")
	size, err := strconv.ParseInt(strings.TrimSpace(df), 10, 64)
	if disk := spec.Disks[0].Bytes; err != nil || size < disk*85/100 {
		t.Errorf("its root file system has %s bytes (%v) of a disk of %d", df, err, disk)
	}
}
