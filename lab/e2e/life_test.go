//go:build qemu

package e2e

import (
	"context"
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// TestLife takes a BIOS and a UEFI machine side by side from the inventory
// file to a login prompt and back.
func TestLife(t *testing.T) {
	t.Parallel()
	p := newPod(t, "lf", "boot: 2m, verify: 2m",
		machine.Spec{Name: "m1", Firmware: machine.BIOS, CPUs: 2, MemoryMiB: 768,
			Disks: []machine.Disk{{Bus: "nvme", Bytes: 1 << 30, Serial: "NVME-1"}, {Bus: "ahci", Bytes: 2 << 30, Serial: "SATA-1", Rotational: true}},
			NICs:  []machine.NIC{{Model: "e1000"}, {Model: "virtio"}}},
		machine.Spec{Name: "m2", Firmware: machine.UEFI, CPUs: 1, MemoryMiB: 1024,
			Disks: []machine.Disk{{Bus: "ahci", Bytes: 2 << 30, Serial: "SATA-2"}, {Bus: "virtio", Bytes: 3 << 30, Serial: "VIRT-2"}},
			NICs:  []machine.NIC{{Model: "virtio"}, {Model: "e1000e"}}})
	p.importMini(t)
	t.Run("machines", func(t *testing.T) {
		for _, name := range []string{"m1", "m2"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				life(t, p, name)
			})
		}
	})
}

// life is one machine's.
func life(t *testing.T, p *pod, name string) {
	if m := p.machine(t, name); m.Status.State != "discovered" {
		t.Fatalf("imported, it is %s", m.Status.State)
	}
	m := p.accept(t, name)
	if m.Status.State != "available" {
		t.Fatalf("accepted, it is %s: %s", m.Status.State, m.Status.Reason)
	}
	wantInventory(t, p.Machine(name).Spec(), m)

	marker := "marker-" + rand.Text() + rand.Text()
	m = p.do(t, name, "deploy", p.deployment("host-"+name))
	if m.Status.State != "active" {
		t.Errorf("deployed, it is %s", m.Status.State)
	}
	if got := p.shell(t, m, "hostname"); got != "host-"+name {
		t.Errorf("its hostname is %q", got)
	}
	p.shell(t, m, "echo "+marker+" >marker && sync")

	from := p.trace.len()
	m = p.do(t, name, "restart", nil)
	wantRestart(t, p.trace.of(p.outlet(name), from))
	if got := p.shell(t, m, "cat marker; cut -d. -f1 /proc/uptime"); !strings.HasPrefix(got, marker) {
		t.Errorf("after its restart the marker is %q", got)
	}

	img, root := readMini(t), p.rootDisk(name, m)
	if nonzero, old := img.holds(t, root, marker); old < 1000 {
		t.Fatalf("the search for old blocks would find nothing: %d of %d", old, nonzero)
	}
	release(t, p, name, img, marker)
}

// rootDisk is the file of the disk that a machine was deployed to.
func (p *pod) rootDisk(name string, m client.Machine) string {
	for _, d := range m.Inventory.Disks {
		if d.Path != m.Server.Disk {
			continue
		}
		for i, have := range p.Machine(name).Spec().Disks {
			if have.Serial == d.Serial {
				return p.Machine(name).DiskPath(i)
			}
		}
	}
	return ""
}

// release releases a machine and looks for what is left of it.
func release(t *testing.T, p *pod, name string, img image, marker string) {
	t.Helper()
	m := p.do(t, name, "release", nil)
	if m.Status.State != "available" || m.Dirty || m.Server != nil {
		t.Errorf("released, it is %+v", m)
	}
	spec := p.Machine(name).Spec()
	certified := map[string]int64{}
	for _, w := range m.Wiped {
		certified[w.Serial] = w.Bytes
		t.Logf("%s was wiped by %s, read back %s", w.Serial, w.Method, w.Verified)
	}
	for i, d := range spec.Disks {
		if certified[d.Serial] != d.Bytes {
			t.Errorf("no certificate of disk %s's %d bytes in %+v", d.Serial, d.Bytes, m.Wiped)
		}
		if nonzero, old := img.holds(t, p.Machine(name).DiskPath(i), marker); old > 0 || nonzero > 0 {
			t.Errorf("disk %s holds %d blocks of its old content, %d that are not zero", d.Serial, old, nonzero)
		}
	}

	// Someone presses the button: nothing of the old system may come.
	console := p.Machine(name).Console()
	mark := console.Mark()
	if err := p.Outlet(p.outlet(name)).Set(true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := console.WaitFrom(ctx, mark, regexp.MustCompile(`nothing to boot`)); err != nil {
		t.Errorf("switched on after its release: %v", err)
	}
	if shown := console.Text(); strings.Contains(shown, "host-"+name+" login") {
		t.Errorf("switched on after its release, it shows\n%s", lastLines(shown, 15))
	}
	dial, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if conn, err := p.Dial(dial, "tcp", m.Address.String()+":22"); err == nil {
		conn.Close()
		t.Error("switched on after its release, it answers SSH")
	}
}

// wantRestart fails unless an outlet was read, switched off, polled until it was
// off, switched on, and polled until it was on: more than once, as the PDU takes
// its time.
func wantRestart(t *testing.T, said []string) {
	t.Helper()
	if !regexp.MustCompile(`^(get )+off (get ){2,}on (get ?){2,}$`).MatchString(strings.Join(said, " ")) {
		t.Errorf("on the wire the restart was %q", said)
	}
	t.Logf("on the wire: %q", said)
}
