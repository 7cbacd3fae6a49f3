package pid1

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

type mount struct {
	fstype, target, data string
	flags                uintptr
}

// MountEarly mounts proc, sysfs, devtmpfs, devpts and tmpfs on their places.
// What is mounted already is left as it is.
func MountEarly() error {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	for _, m := range [...]mount{
		{"proc", "/proc", "", safe},
		{"sysfs", "/sys", "", safe},
		{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID},
		{"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// unmountAll detaches every file system that has a block device behind it, the
// last mounted first, so that its journal is clean.
func unmountAll() {
	for _, target := range slices.Backward(blockMounts()) {
		if unix.Unmount(target, 0) != nil {
			_ = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
	unix.Sync()
}

func blockMounts() []string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if w := strings.Fields(sc.Text()); len(w) > 2 && strings.HasPrefix(w[0], "/dev/") {
			out = append(out, w[1])
		}
	}
	return out
}
