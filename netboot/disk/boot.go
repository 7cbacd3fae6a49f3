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
	undo, err := bindKernel(dir)
	defer undo()
	if err != nil {
		return err
	}
	if len(m.Arrays) > 0 || m.LVM {
		if err := optional(ctx, dir, "update-initramfs", "-u", "-k", "all"); err != nil {
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

// optional runs a program that not every image has.
func optional(ctx context.Context, dir, name string, args ...string) error {
	if !has(dir, name) {
		return nil
	}
	return chroot(ctx, dir, name, args...)
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
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t := strings.TrimSpace(string(out))
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, t[max(0, len(t)-lastOutput):])
		}
		return nil
	}
	return fmt.Errorf("the image has no %s", name)
}
