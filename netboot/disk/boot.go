package disk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/job"
)

// InstallBoot installs GRUB for BIOS or UEFI ("bios" or "uefi") on the disks of
// a layout whose file systems are mounted at dir, with the image's own programs
// in a chroot. For UEFI it uses the removable path, \EFI\BOOT, which firmware
// finds by itself: the firmware's boot order stays network first. The error is a
// *job.Problem of code "bootloader".
func (m *Made) InstallBoot(ctx context.Context, dir, firmware string) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = &job.Problem{Code: "bootloader", Detail: err.Error()}
		}
	}()
	if err := m.suits(dir); err != nil {
		return err
	}
	undo, err := bindKernel(dir)
	defer undo()
	if err != nil {
		return err
	}
	if err := m.nameByUUID(); err != nil {
		return err
	}
	if err := m.initramfs(ctx, dir); err != nil {
		return err
	}
	if firmware == "uefi" {
		if err := keepNetworkFirst(ctx, dir); err != nil {
			return err
		}
	}
	for i, d := range m.Disks {
		if err := m.grubInstall(ctx, dir, firmware, i, d); err != nil {
			return err
		}
	}
	if has(dir, "update-grub") {
		return chroot(ctx, dir, "update-grub")
	}
	return chroot(ctx, dir, "grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")
}

// suits refuses an image that lacks what the layout needs to start: it would be
// found only when the server does not come up.
func (m *Made) suits(dir string) error {
	need := func(what, name string) error {
		if has(dir, name) {
			return nil
		}
		return fmt.Errorf("the layout has %s and the image has no %s: take an image that has it, or a layout without", what, name)
	}
	if len(m.Arrays) > 0 {
		if err := need("RAID1", "mdadm"); err != nil {
			return err
		}
	}
	if m.LVM {
		if err := need("LVM", "lvm"); err != nil {
			return err
		}
	}
	return nil
}

// byUUID is where udev(7) would make the links that GRUB's scripts look for.
const byUUID = "/dev/disk/by-uuid"

// nameByUUID makes udev's links, as nobody runs udev here. Without a link
// grub-mkconfig puts the device's name of the moment on the kernel's command
// line: /dev/sda3, which may be another disk at the next start, or /dev/md4,
// which the server's own udev names otherwise.
func (m *Made) nameByUUID() error {
	if err := os.MkdirAll(byUUID, 0o755); err != nil {
		return err
	}
	for _, v := range m.Volumes {
		link := filepath.Join(byUUID, v.UUID)
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink(v.Device, link); err != nil {
			return err
		}
	}
	return nil
}

// initramfs makes the image's initial file system anew if it must know of
// arrays or volumes.
func (m *Made) initramfs(ctx context.Context, dir string) error {
	switch {
	case len(m.Arrays) == 0 && !m.LVM:
		return nil
	case has(dir, "update-initramfs"):
		return chroot(ctx, dir, "update-initramfs", "-u", "-k", "all")
	case has(dir, "dracut"):
		return chroot(ctx, dir, "dracut", "--force", "--regenerate-all")
	}
	return fmt.Errorf("the layout has RAID1 or LVM and the image has neither update-initramfs nor dracut to start from it")
}

// Mdadm is what the layout's arrays add to the image's mdadm.conf(5), empty
// without arrays.
func (m *Made) Mdadm() string {
	if len(m.Arrays) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("# Made by Gantry.\n")
	for _, a := range m.Arrays {
		fmt.Fprintf(&b, "ARRAY /dev/md/%s metadata=1.2 UUID=%s\n", a.Name, a.UUID)
	}
	return b.String()
}

// keepNetworkFirst tells Debian's grub-efi, which runs grub-install by itself at
// each upgrade, what is so here: no entry of its own at the head of the firmware's
// boot order, or the machine would not come back to the network to be released;
// and the new core on the removable path too, which is the one that starts.
func keepNetworkFirst(ctx context.Context, dir string) error {
	if !has(dir, "debconf-set-selections") {
		return nil
	}
	const answers = `grub-efi-amd64 grub2/update_nvram boolean false
grub-efi-amd64 grub2/force_efi_extra_removable boolean true
`
	return chroot(ctx, dir, "sh", "-c", "printf '%s' '"+answers+"' | debconf-set-selections")
}

func (m *Made) grubInstall(ctx context.Context, dir, firmware string, i int, disk string) error {
	tool := "grub-install"
	if !has(dir, tool) {
		tool = "grub2-install"
	}
	if !has(dir, tool) {
		return fmt.Errorf("the image has neither grub-install nor grub2-install")
	}
	if firmware != "uefi" {
		return chroot(ctx, dir, tool, "--target=i386-pc", "--recheck", disk)
	}
	esps := m.esps()
	if len(esps) == 0 {
		return fmt.Errorf("the machine boots by UEFI and the layout has no ESP")
	}
	if i > 0 && i < len(esps) {
		return m.copyESP(dir, esps[0].Mount, esps[i])
	}
	return chroot(ctx, dir, tool, "--target=x86_64-efi", "--efi-directory="+esps[0].Mount, "--removable", "--no-nvram", "--recheck")
}

func (m *Made) esps() (out []Volume) {
	for _, v := range m.Volumes {
		if v.Use == "esp" {
			out = append(out, v)
		}
	}
	return out
}

// copyESP gives a mirror's other disk the same boot loader, so that either disk
// boots alone.
func (m *Made) copyESP(dir, from string, to Volume) error {
	at, err := Mount(to.Device, "vfat", "/mnt/esp", 0)
	if err != nil {
		return err
	}
	err = os.CopyFS(at.Dir, os.DirFS(filepath.Join(dir, from)))
	if un := at.Unmount(); err == nil {
		err = un
	}
	return err
}

// bindKernel shows the chroot the kernel's file systems. undo must be called,
// after an error too.
func bindKernel(dir string) (undo func(), err error) {
	var done []string
	undo = func() {
		for i := len(done) - 1; i >= 0; i-- {
			_ = unix.Unmount(done[i], unix.MNT_DETACH)
		}
	}
	for _, d := range []string{"dev", "proc", "sys", "run"} {
		to := filepath.Join(dir, d)
		if st, err := os.Lstat(to); err != nil || !st.IsDir() {
			return undo, fmt.Errorf("the image has no folder /%s", d)
		}
		if err := unix.Mount("/"+d, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return undo, fmt.Errorf("show /%s to the image: %w", d, err)
		}
		done = append(done, to)
		_ = unix.Mount("", to, "", unix.MS_SLAVE|unix.MS_REC, "")
	}
	return undo, nil
}

var sbins = [...]string{"usr/sbin", "sbin", "usr/bin", "bin"}

// has says that the image has a program.
func has(dir, name string) bool {
	for _, s := range sbins {
		if st, err := os.Lstat(filepath.Join(dir, s, name)); err == nil && !st.IsDir() {
			return true
		}
	}
	return false
}

const lastOutput = 600

// chroot runs one of the image's programs in the image.
func chroot(ctx context.Context, dir, name string, args ...string) error {
	for _, s := range sbins {
		p := filepath.Join(dir, s, name)
		if st, err := os.Lstat(p); err != nil || st.IsDir() {
			continue
		}
		cmd := exec.CommandContext(ctx, "/"+s+"/"+name, args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Chroot: dir}
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive",
			// There is no udev here whose notice device-mapper could wait for.
			"DM_DISABLE_UDEV=1", "LVM_SUPPRESS_FD_WARNINGS=1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t := strings.TrimSpace(string(out))
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, t[max(0, len(t)-lastOutput):])
		}
		return nil
	}
	return fmt.Errorf("the image has no %s", name)
}
