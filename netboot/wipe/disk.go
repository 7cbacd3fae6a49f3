package wipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what is read and written at once: a multiple of every sector size
// that disks have.
const block = 4 << 20

// workers is how many blocks are under way at once.
const workers = 4

// disk is a disk being erased. Direct I/O sees the disk and no cache.
type disk struct {
	*os.File
	path   string
	size   int64
	report func(done, total int64)
	log    *slog.Logger
}

// open opens the disk for this process alone.
func open(r Request) (*disk, error) {
	f, err := os.OpenFile(r.Disk.Path, os.O_RDWR|unix.O_DIRECT|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil || size <= 0 {
		f.Close()
		return nil, fmt.Errorf("size of %s: %d, %w", r.Disk.Path, size, err)
	}
	d := &disk{File: f, path: r.Disk.Path, size: size, report: r.Progress, log: r.Log}
	if d.report == nil {
		d.report = func(int64, int64) {}
	}
	return d, nil
}

// progress of erasing is the first half; of reading back, the second.
func (d *disk) progress(done int64) { d.report(done, 2*d.size) }

// flush writes the disk's own cache out.
func (d *disk) flush() error {
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", d.path, err)
	}
	return nil
}

// forget makes the kernel forget the partitions and cached blocks of the old
// system.
func (d *disk) forget() error {
	if err := ioctlArg(d.Fd(), unix.BLKFLSBUF, nil); err != nil {
		return fmt.Errorf("drop cached blocks of %s: %w", d.path, err)
	}
	err := ioctlArg(d.Fd(), unix.BLKRRPART, nil)
	if errors.Is(err, unix.EINVAL) {
		return nil // a disk that has no partitions
	}
	if err != nil {
		return fmt.Errorf("forget the partitions of %s: %w", d.path, err)
	}
	return nil
}

func ioctlArg(fd, req uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// zero writes zeros over all of it, with writes that carry them: a command that
// only promises zeros is not this method.
func (d *disk) zero(ctx context.Context) (bool, error) { return true, d.writeZeros(ctx) }

func (d *disk) writeZeros(ctx context.Context) error {
	return d.each(ctx, spans(d.size), 0, func(buf []byte, off int64) error {
		clear(buf)
		if _, err := d.WriteAt(buf, off); err != nil {
			return fmt.Errorf("write zeros to %s at byte %d: %w", d.path, off, err)
		}
		return nil
	})
}

// discard gives all blocks back to the disk (BLKDISCARD), in pieces so that it
// can be cancelled, and writes zeros where old partition tables were.
func (d *disk) discard(ctx context.Context) (bool, error) {
	const piece = 16 << 30
	for off := int64(0); off < d.size; off += piece {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		r := [2]uint64{uint64(off), uint64(min(piece, d.size-off))}
		err := ioctlArg(d.Fd(), unix.BLKDISCARD, unsafe.Pointer(&r))
		if errors.Is(err, unix.EOPNOTSUPP) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("discard %s from byte %d: %w", d.path, off, err)
		}
		d.progress(off)
	}
	return true, nil
}

type span struct {
	off int64
	n   int
}

// spans cuts size bytes into blocks.
func spans(size int64) []span {
	var out []span
	for off := int64(0); off < size; off += block {
		out = append(out, span{off, int(min(block, size-off))})
	}
	return out
}

// each does all spans with a few goroutines; base is added to the progress.
func (d *disk) each(ctx context.Context, all []span, base int64, do func(buf []byte, off int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			buf, free, err := aligned()
			if err != nil {
				cancel(err)
				return
			}
			defer free()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if err := do(buf[:all[i].n], all[i].off); err != nil {
					cancel(err)
					return
				}
				d.progress(base + done.Add(int64(all[i].n)))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// aligned is a block of memory at a page's beginning, as direct I/O asks.
func aligned() (buf []byte, free func(), err error) {
	buf, err = unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, fmt.Errorf("memory for a block: %w", err)
	}
	return buf, func() { _ = unix.Munmap(buf) }, nil
}

// Reading back: all of a disk up to fullLimit; of a larger one the first and
// last 64 MiB and samples blocks spread over it, one at random in each stretch.
// A quick look is at the ends, where partition tables are, and at a little of
// each of many blocks: 32 MiB.
const (
	fullLimit = 32 << 30
	edge      = 16
	samples   = 2048

	quickEdge, quickSamples, quickBytes = 2, 60, 256 << 10
	// quickFull is up to how many blocks a quick look is at all of a disk.
	quickFull = 16
)

// errNotZero is for a block that still holds something.
var errNotZero = errors.New("does not read as zeros")

// verify reads back. verified is "" without an error if something was found.
func (d *disk) verify(ctx context.Context, quick bool) (verified string, err error) {
	all, how := toRead(d.size, quick)
	zeros := make([]byte, block)
	err = d.each(ctx, all, d.size, func(buf []byte, off int64) error {
		if _, err := d.ReadAt(buf, off); err != nil {
			return fmt.Errorf("read %s back at byte %d: %w", d.path, off, err)
		}
		if !bytes.Equal(buf, zeros[:len(buf)]) {
			return fmt.Errorf("%s at byte %d: %w", d.path, off, errNotZero)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	d.report(2*d.size, 2*d.size)
	return how, nil
}

// toRead is what is read back of a disk of that size, and what that is called.
func toRead(size int64, quick bool) ([]span, string) {
	all := spans(size)
	switch {
	case quick && len(all) > quickFull:
		picked := sample(all, quickEdge, quickSamples)
		for i := range picked[quickEdge : len(picked)-quickEdge] {
			s := &picked[quickEdge+i]
			s.off += rand.Int64N(int64(s.n)/quickBytes) * quickBytes
			s.n = quickBytes
		}
		return picked, "sample"
	case size > fullLimit:
		return sample(all, edge, samples), "sample"
	}
	return all, "full"
}

// sample picks blocks so that no stretch is left out and none can be foreseen.
func sample(all []span, edge, samples int) []span {
	out := append([]span(nil), all[:edge]...)
	inner := all[edge : len(all)-edge]
	for i := range samples {
		from, to := i*len(inner)/samples, (i+1)*len(inner)/samples
		if to > from {
			out = append(out, inner[from+rand.IntN(to-from)])
		}
	}
	return append(out, all[len(all)-edge:]...)
}
