package write

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// target is a block device or file that is written past the page cache.
type target struct {
	f      *os.File
	path   string
	block  bool
	size   int64 // bytes that it holds
	sector int64 // what offsets and lengths of writes must be multiples of
}

// openTarget opens path for an image of need bytes. A block device must be
// large enough and not in use; a file is made or enlarged, unless the caller
// knows that it writes to a disk.
func openTarget(path string, need int64, disk bool) (*target, error) {
	st, err := os.Stat(path)
	block := err == nil && st.Mode()&os.ModeDevice != 0
	if disk && !block {
		return nil, problem("disk-io", true, "%s is no disk any more (%v): it went away since it was chosen; look at its cable and slot", path, err)
	}
	flags := os.O_RDWR | unix.O_DIRECT
	if block {
		flags |= unix.O_EXCL // refused while it is mounted or part of an array
	} else {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, unix.EINVAL) {
		// A file system in memory has no page cache to go past.
		f, err = os.OpenFile(path, flags&^unix.O_DIRECT, 0o600)
	}
	if err != nil {
		return nil, problem("disk-io", false, "open %s: %s", path, err)
	}
	t := &target{f: f, path: path, block: block, sector: 512}
	if err := t.measure(need); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *target) measure(need int64) error {
	if !t.block {
		st, err := t.f.Stat()
		if err == nil {
			t.size = max(st.Size(), need)
			err = t.f.Truncate(t.size)
		}
		return t.ioError("size", 0, err)
	}
	sector, err := unix.IoctlGetInt(int(t.f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return t.ioError("ask for the sector size", 0, err)
	}
	t.sector = int64(sector)
	if t.size, err = t.f.Seek(0, io.SeekEnd); err != nil {
		return t.ioError("ask for the size", 0, err)
	}
	if roundUp(need, t.sector) > t.size {
		return problem("disk-too-small", false, "%s has %d bytes, the image needs %d", t.path, t.size, need)
	}
	return nil
}

// ioError is nil for nil, and otherwise says where the disk failed.
func (t *target) ioError(what string, at int64, err error) error {
	if err == nil {
		return nil
	}
	return problem("disk-io", true, "%s: %s at byte %d: %s", t.path, what, at, err)
}

// writeAt writes b, which is in a buffer with room up to a sector's end.
func (t *target) writeAt(b []byte, at int64) error {
	n := len(b)
	b = b[:roundUp(n, int(t.sector))]
	clear(b[n:])
	_, err := t.f.WriteAt(b, at)
	return t.ioError("write", at, err)
}

// readAt fills b, which is in a buffer with room up to a sector's end.
func (t *target) readAt(b []byte, at int64) error {
	_, err := t.f.ReadAt(b[:roundUp(len(b), int(t.sector))], at)
	return t.ioError("read", at, err)
}

// zeroStep is how much is made zero at once: the kernel cannot be stopped
// within one call, and a disk without a command for it writes every byte.
const zeroStep = 256 << 20

// zero makes [from, to) read as zeros. BLKZEROOUT uses the disk's own command
// where it has one that guarantees zeros, and writes them where it has none.
// Discarding is not used: what it leaves behind is up to the disk.
func (t *target) zero(ctx context.Context, from, to int64, done func(int64)) error {
	for from < to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(to-from, zeroStep)
		if err := t.zeroOnce(from, n); err != nil {
			return t.ioError("make zero", from, err)
		}
		done(n)
		from += n
	}
	return nil
}

func (t *target) zeroOnce(from, n int64) error {
	if !t.block {
		err := unix.Fallocate(int(t.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, n)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return t.writeZeros(from, n)
		}
		return err
	}
	span := [2]uint64{uint64(from), uint64(roundUp(n, t.sector))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, t.f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
	switch errno {
	case 0:
		return nil
	case unix.EOPNOTSUPP, unix.ENOTTY:
		return t.writeZeros(from, n)
	}
	return errno
}

// writeZeros is the way that every disk knows.
func (t *target) writeZeros(from, n int64) error {
	b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("map zeros: %w", err)
	}
	defer unix.Munmap(b)
	for end := from + roundUp(n, t.sector); from < end; {
		k, err := t.f.WriteAt(b[:min(int64(len(b)), end-from)], from)
		if err != nil {
			return err
		}
		from += int64(k)
	}
	return nil
}

// finish makes what was written durable and closes the target.
func (t *target) finish() error {
	err := t.f.Sync()
	if err == nil && !t.block {
		err = t.f.Truncate(t.size)
	}
	return t.ioError("sync", 0, errors.Join(err, t.f.Close()))
}
