package tftp

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// File is an opened boot file. ReadAt is called by one goroutine at a time,
// in order, and Close once, after the last ReadAt.
type File interface {
	io.ReaderAt
	io.Closer
	// Size is the length in bytes; a transfer sends exactly this many.
	Size() int64
}

// Prompt is a File that can tell what it would have to wait for.
type Prompt interface {
	File
	// ReadAtNow is ReadAt of what needs no waiting: less than was asked for, or
	// nothing, if the rest may have to be waited for or is not there.
	ReadAtNow(p []byte, off int64) int
}

// Opener finds the file that a client asks for. The server trusts no name:
// confinement is the Opener's.
type Opener interface {
	// Open returns the file for a client's request. The name is as the client
	// sent it: any bytes but NUL. The error reaches the client as "file not
	// found" if it is fs.ErrNotExist, as "access violation" if it is
	// fs.ErrPermission, literally if it is an *Error, and else as a general
	// refusal without its text. Open is called concurrently, with a deadline.
	Open(ctx context.Context, name string, peer netip.AddrPort) (File, error)
}

// Ready is an Opener that has some files at hand.
type Ready interface {
	// OpenNow is Open without waiting for anything; false if Open has to be
	// called. It is called concurrently, by the loops that carry transfers.
	OpenNow(name string, peer netip.AddrPort) (File, bool)
}

// Root is an Opener over a directory. Close it when the server has returned.
// It keeps what is asked for often in memory (see held), and is Ready with it.
type Root struct {
	root *os.Root
	held held
}

// Dir opens a directory to serve regular files from. Names are taken as
// relative to it, with or without leading slashes; no ".." and no symbolic
// link leads out of it.
func Dir(dir string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open TFTP root: %w", err)
	}
	return &Root{root: root}, nil
}

// Close releases the directory.
func (r *Root) Close() error { return r.root.Close() }

// Open implements Opener.
func (r *Root) Open(_ context.Context, name string, _ netip.AddrPort) (File, error) {
	rel, err := within(name)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: opening a FIFO that someone left there must not hang.
	f, err := r.root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file: %w", fs.ErrPermission)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	if c := r.held.keep(rel, f, info, time.Now()); c != nil {
		f.Close()
		return c, nil
	}
	return &diskFile{f, info.Size()}, nil
}

// OpenNow implements Ready.
func (r *Root) OpenNow(name string, _ netip.AddrPort) (File, bool) {
	rel, err := within(name)
	if err != nil {
		return nil, false
	}
	c := r.held.get(rel)
	if c == nil {
		return nil, false
	}
	if info, err := r.root.Stat(rel); err != nil || !c.is(info) {
		r.held.drop(rel)
		return nil, false
	}
	return c, true
}

// within is name relative to the directory.
func within(name string) (string, error) {
	rel := strings.TrimLeft(name, "/")
	if slices.Contains(strings.Split(rel, "/"), "..") {
		return "", fmt.Errorf("open %q: name has a \"..\": %w", name, fs.ErrPermission)
	}
	return path.Clean(rel), nil
}

type diskFile struct {
	*os.File
	size int64
}

func (f *diskFile) Size() int64 { return f.size }

// ReadAtNow implements Prompt with what the kernel has in memory (RWF_NOWAIT of
// preadv2(2), since Linux 4.14; not of every file system).
func (f *diskFile) ReadAtNow(p []byte, off int64) int {
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_NOWAIT)
	if err != nil {
		return 0
	}
	return n
}
