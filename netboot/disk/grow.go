package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/disk/gpt"
	"github.com/gantry-pod/gantry/netboot/job"
)

// GrowTable moves a written image's second partition table to the disk's end,
// where the standard wants it, and grows the last partition to the room there
// is. It says by how many bytes it grew. A disk without a GUID partition table
// is left as it is.
func GrowTable(ctx context.Context, path string) (grew int64, err error) {
	d, err := openDevice(path)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	t, err := gpt.Read(d, d.size, d.sector)
	if errors.Is(err, gpt.ErrNoTable) {
		return 0, Reread(ctx, path)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	before := sectors(t)
	if _, err := t.Grow(d.size); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if err := t.Write(d, d.size); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int64(sectors(t)-before) * int64(d.sector), Reread(ctx, path)
}

func sectors(t *gpt.Table) (n uint64) {
	for _, p := range t.Partitions {
		if p.Type != (gpt.GUID{}) {
			n += p.Sectors()
		}
	}
	return n
}

// Numbers of a disk's partitions, in the table's order; none without a table.
func Numbers(path string) ([]int, error) {
	d, err := openDevice(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	t, err := gpt.Read(d, d.size, d.sector)
	if errors.Is(err, gpt.ErrNoTable) {
		return []int{1, 2, 3, 4}, nil // an MBR, whose primary partitions the kernel knows
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for i, p := range t.Partitions {
		if p.Type != (gpt.GUID{}) {
			out = append(out, i+1)
		}
	}
	return out, nil
}

// Mounted is a mounted file system.
type Mounted struct {
	Device, FS, Dir string
}

// mountFlags keep an image's devices and programs from meaning anything here.
const mountFlags = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME

// Mount mounts a device on dir, which is made.
func Mount(device, fs, dir string, flags uintptr) (*Mounted, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount(device, dir, fs, flags, ""); err != nil {
		return nil, fmt.Errorf("mount %s (%s) on %s: %w", device, fs, dir, err)
	}
	return &Mounted{Device: device, FS: fs, Dir: dir}, nil
}

// Unmount flushes and detaches it.
func (m *Mounted) Unmount() error {
	if err := unix.Unmount(m.Dir, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", m.Dir, err)
	}
	return nil
}

// FindRoot mounts, on dir, the partition of a disk that holds an operating
// system: a Linux file system with etc/os-release. It tries the last first.
// isRoot looks into a mounted folder. The error is a *job.Problem of code
// "configure".
func FindRoot(disk, dir string, isRoot func(dir string) bool) (*Mounted, error) {
	numbers, err := Numbers(disk)
	if err != nil {
		return nil, err
	}
	var tried []string
	for i := len(numbers) - 1; i >= 0; i-- {
		dev := PartitionPath(disk, numbers[i])
		fs := probeDevice(dev)
		tried = append(tried, fmt.Sprintf("%s %q", dev, fs))
		if fs != "ext4" && fs != "xfs" && fs != "btrfs" {
			continue
		}
		m, err := Mount(dev, fs, dir, mountFlags)
		if err != nil {
			return nil, err
		}
		if isRoot(dir) {
			return m, nil
		}
		if err := m.Unmount(); err != nil {
			return nil, err
		}
	}
	return nil, &job.Problem{Code: "configure", Detail: fmt.Sprintf("no partition of %s holds an operating system (ext4, xfs or btrfs with /etc/os-release); tried %v", disk, tried)}
}

func probeDevice(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return Probe(f)
}

// ioctls of file systems that grow while mounted.
const (
	ext4ResizeFS  = 0x40086610 // EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64)
	xfsGrowFSData = 0x4010586e // XFS_IOC_FSGROWFSDATA, _IOW('X', 110, struct xfs_growfs_data)
	btrfsResize   = 0x50009403 // BTRFS_IOC_RESIZE, _IOW(0x94, 3, struct btrfs_ioctl_vol_args)
	btrfsArgs     = 4096
)

// Grow makes the file system as large as its device, while it is mounted. One
// that is as large already stays as it is.
func (m *Mounted) Grow() error {
	dev, err := openDevice(m.Device)
	if err != nil {
		return err
	}
	defer dev.Close()
	dir, err := os.Open(m.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("statfs %s: %w", m.Dir, err)
	}
	blocks := uint64(dev.size) / uint64(st.Bsize)
	switch m.FS {
	case "ext4":
		err = ioctl(dir, ext4ResizeFS, unsafe.Pointer(&blocks))
	case "xfs":
		var pct uint32
		if pct, err = xfsImaxPct(dev); err == nil {
			arg := growXFS(blocks, pct)
			err = ioctl(dir, xfsGrowFSData, unsafe.Pointer(&arg))
		}
	case "btrfs":
		var arg [btrfsArgs]byte
		copy(arg[8:], "max")
		err = ioctl(dir, btrfsResize, unsafe.Pointer(&arg))
	}
	if err != nil {
		return fmt.Errorf("grow the %s file system of %s to %d blocks: %w", m.FS, m.Device, blocks, err)
	}
	return nil
}

func ioctl(f *os.File, req uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}
