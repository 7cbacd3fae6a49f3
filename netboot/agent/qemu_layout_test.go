//go:build qemu

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

const mebi = 1 << 20

// rootfsImage is the root file system that `make` built, or else builds it.
func rootfsImage(t *testing.T) string {
	t.Helper()
	const built = "../../build/images/rootfs.tar"
	if _, err := os.Stat(built); err == nil {
		return built
	}
	if b, err := exec.Command("../../images/recipe/build.sh", "rootfs", built).CombinedOutput(); err != nil {
		t.Fatalf("build.sh rootfs: %v\n%s", err, b)
	}
	return built
}

// ovmf are the options of a UEFI machine with variables of its own.
func ovmf(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Fatalf("package ovmf is needed: %v", err)
	}
	vars := filepath.Join(t.TempDir(), "vars")
	if err := os.WriteFile(vars, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file=" + vars}
}

// waitFor waits until the serial console has said something, and returns all of
// what it said.
func (m *machine) waitFor(t *testing.T, text string, within time.Duration) string {
	t.Helper()
	limit := time.After(within)
	for !strings.Contains(m.serial(), text) {
		select {
		case <-m.exited:
			t.Fatalf("the machine ended before it said %q:\n%s", text, m.serial())
		case <-limit:
			t.Fatalf("the machine did not say %q within %v:\n%s", text, within, m.serial())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return m.serial()
}

// deployRootFS deploys the layout and switches the machine off.
func deployRootFS(t *testing.T, a *testAppliance, m *machine, image job.ImageRef, l job.Layout) *job.Deployed {
	t.Helper()
	r := a.mustDo(m, job.Job{ID: "l1", Kind: job.Deploy, Deploy: &job.DeploySpec{Image: image, ReadBack: true, Layout: &l, Config: job.Config{
		Hostname: "layout1", InstanceID: "i-1", NICs: []job.NIC{{MAC: bootMAC, DHCP: true}},
	}}}, 8*time.Minute).Deploy
	a.mustDo(m, job.Job{ID: "p1", Kind: job.PowerOff}, time.Minute)
	m.waitExit(t, time.Minute)
	if r.Written == 0 || r.Fetched == 0 || r.Size == 0 {
		t.Errorf("%+v", r)
	}
	return r
}

// startFromDisk starts a machine as its firmware does, and wants lines of what
// the system says when it is up.
func startFromDisk(t *testing.T, want []string, devices ...string) {
	t.Helper()
	args := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"}
	m := start(t, exec.Command("qemu-system-x86_64", append(args, devices...)...))
	out := m.waitFor(t, "gantry-rootfs: layout1 is up", 4*time.Minute)
	t.Logf("%.1fs to the system's first process", m.since())
	_, out, _ = strings.Cut(out, "gantry-rootfs: mounts")
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("the system does not say %q:\n%s", w, out)
		}
	}
}

// A root file system is laid out, unpacked, read back and made to start; then the
// machine starts from it, with its disks in another order than they had.
func TestLayoutBoots(t *testing.T) {
	a := newAppliance(t)
	image := a.serveImage(t, rootfsImage(t), format.RootFS, "")
	t.Run("bios mirror lvm xfs", func(t *testing.T) { layoutMirror(t, a, image) })
	t.Run("uefi nvme ext4", func(t *testing.T) { layoutUEFI(t, a, image) })
}

// layoutMirror is a mirror of two disks, the root a logical volume with XFS.
func layoutMirror(t *testing.T, a *testAppliance, image job.ImageRef) {
	a.t = t
	_, one := diskImage(t, "d1", 640*mebi)
	_, two := diskImage(t, "d2", 640*mebi)
	drives := append(one, two...)
	m := boot(t, a, append(drives, "-device", "virtio-blk-pci,drive=d1,serial=A", "-device", "virtio-blk-pci,drive=d2,serial=B")...)
	deployRootFS(t, a, m, image, job.Layout{RAID1: true, Partitions: []job.Partition{
		{Name: "grub", Size: mebi, Use: "bios"},
		{Name: "boot", Size: 96 * mebi, Use: "data", FS: "ext4", Mount: "/boot"},
		{Name: "pv", Use: "lvm", Volumes: []job.Partition{{Name: "root", Use: "root", FS: "xfs"}, {Name: "swap", Size: 16 * mebi, Use: "swap"}}},
	}})
	startFromDisk(t, []string{"/ /dev/mapper/gantry-root xfs", "/boot /dev/md", "partition", "raid1"},
		append(drives, "-device", "virtio-blk-pci,drive=d2,serial=B", "-device", "virtio-blk-pci,drive=d1,serial=A")...)
}

// layoutUEFI is one NVMe disk with an ESP. At the next start it is the second.
func layoutUEFI(t *testing.T, a *testAppliance, image job.ImageRef) {
	a.t = t
	firmware := ovmf(t)
	_, drive := diskImage(t, "d1", 640*mebi)
	_, other := diskImage(t, "d2", mebi)
	m := boot(t, a, append(append(drive, firmware...), "-device", "nvme,drive=d1,serial=A")...)
	deployRootFS(t, a, m, image, job.Layout{Partitions: []job.Partition{
		{Name: "efi", Size: 64 * mebi, Use: "esp"},
		{Name: "root", Use: "root"},
		{Name: "swap", Size: 16 * mebi, Use: "swap"},
	}})
	if strings.Contains(a.logText(), "variables cannot be read") {
		t.Error(a.logText())
	}
	drive = append(append(drive, other...), firmware...)
	startFromDisk(t, []string{"root=UUID=", "/ /dev/nvme1n1p2 ext4", "/boot/efi /dev/nvme1n1p1 vfat", "/dev/nvme1n1p3"},
		append(drive, "-device", "nvme,drive=d2,serial=B", "-device", "nvme,drive=d1,serial=A")...)
}
