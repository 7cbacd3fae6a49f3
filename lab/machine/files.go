package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// qemuBinary is QEMU, from Debian's package qemu-system-x86.
const qemuBinary = "qemu-system-x86_64"

// ProbeAccel finds out whether KVM works by starting a QEMU that uses it: the
// device may be there and refuse. It takes well under a second.
func ProbeAccel(ctx context.Context) (Accel, error) {
	if _, err := exec.LookPath(qemuBinary); err != nil {
		return "", fmt.Errorf("%w: install Debian's package qemu-system-x86", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemuBinary, "-machine", "q35", "-accel", "kvm", "-cpu", "host",
		"-nodefaults", "-display", "none", "-S", "-qmp", "stdio")
	cmd.Stdin = strings.NewReader(`{"execute":"qmp_capabilities"}{"execute":"quit"}`)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return "", ctx.Err()
		}
		return TCG, nil
	}
	return KVM, nil
}

// prepare makes a machine's directory, its disks and its firmware's variables,
// keeping those that are there.
func prepare(spec Spec, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for i, d := range spec.Disks {
		if err := prepareDisk(filepath.Join(dir, diskFile(i)), d.Bytes); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	if spec.Firmware != UEFI {
		return nil
	}
	if err := copyNew(filepath.Join(dir, "vars.fd"), ovmfVars); err != nil {
		return fmt.Errorf("UEFI variables: %w: install Debian's package ovmf", err)
	}
	return nil
}

// prepareDisk makes an empty sparse file, or checks the one that is there.
func prepareDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if has := info.Size(); has != 0 && has != size {
		return fmt.Errorf("%s has %d bytes, not the %d asked for; remove it or ask for its size", path, has, size)
	}
	return f.Truncate(size)
}

// copyNew copies a file unless the copy exists.
func copyNew(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// socketPair returns two connected stream sockets: ours, which Go's poller
// serves, and the one to be inherited.
func socketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
