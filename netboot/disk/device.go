package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// device is an open block device, or a regular file in a test.
type device struct {
	*os.File
	size   int64
	sector int
}

// openDevice opens a disk for writing, not exclusively.
func openDevice(path string) (*device, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		sector = 512 // a regular file
	}
	return &device{File: f, size: size, sector: sector}, nil
}

// PartitionPath is the kernel's name for partition number of a disk.
func PartitionPath(disk string, number int) string {
	if c := disk[len(disk)-1]; '0' <= c && c <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(number)
}

// rereadLimit is how long the kernel may say that a disk is in use: something
// that looks at new disks (multipath, an md scan) lets go soon.
const rereadLimit = 10 * time.Second

// Reread makes the kernel read a disk's partition table anew (BLKRRPART), and
// waits for it while the disk is busy.
func Reread(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	limit := time.Now().Add(rereadLimit)
	for {
		err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
			return fmt.Errorf("read the partitions of %s again: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
