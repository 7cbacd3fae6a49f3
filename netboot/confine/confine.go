// Package confine reads and writes files below a folder that whoever filled the
// folder cannot lead out of: every path is resolved by openat2(2) with
// RESOLVE_IN_ROOT, so that symbolic links, absolute ones too, mean what they
// will mean when the folder is a system's root, and never this system's files.
package confine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxFile bounds ReadFile: a file of configuration, not a disk.
const MaxFile = 4 << 20

// Dir is such a folder. It is safe for concurrent use until Close.
type Dir struct{ fd int }

// Open opens the folder at name, which is trusted.
func Open(name string) (*Dir, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &Dir{fd: fd}, nil
}

// Close releases the folder.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// open opens a path below the folder, following links inside of it.
func (d *Dir) open(name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(d.fd, clean(name), &how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue // the tree changed meanwhile
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
}

// clean makes a path relative to the folder.
func clean(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// parent opens the folder that holds name, and returns name's last element.
func (d *Dir) parent(name string) (fd int, base string, err error) {
	dir, base := path.Split(clean(name))
	if base == "." || base == "" {
		return -1, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	fd, err = d.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	return fd, base, err
}

// ReadFile reads a regular file of at most MaxFile bytes, following links.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > MaxFile {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: %v of %d bytes", fs.ErrInvalid, st.Mode(), st.Size())}
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}

// OpenFile opens a file for reading, following links.
func (d *Dir) OpenFile(name string) (*os.File, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Stat says what a path is, following links.
func (d *Dir) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := d.open(name, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// Exists says that a path leads to something.
func (d *Dir) Exists(name string) bool {
	_, err := d.Stat(name)
	return err == nil
}

// ReadLink reads a symbolic link; it is an error for anything else.
func (d *Dir) ReadLink(name string) (string, error) {
	fd, base, err := d.parent(name)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, base, b)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(b[:n]), nil
}

// Names are the entries of a folder, sorted; none if it is not there.
func (d *Dir) Names(name string) []string {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	out, _ := f.Readdirnames(-1)
	slices.Sort(out)
	return out
}

// Owner is who a new file belongs to.
type Owner struct{ UID, GID int }

// WriteFile puts a new file in the place of whatever name was, a link too, in
// one step, and syncs it. The folder above must be there.
func (d *Dir) WriteFile(name string, b []byte, mode uint32, o Owner) error {
	dir, base, err := d.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	tmp := ".gantry-" + suffix()
	fail := func(op string, err error) error {
		_ = unix.Unlinkat(dir, tmp, 0)
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	fd, err := unix.Openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fail("create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return fail("write", err)
	}
	if err := unix.Fchown(fd, o.UID, o.GID); err != nil {
		return fail("chown", err)
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return fail("chmod", err)
	}
	if err := f.Sync(); err != nil {
		return fail("sync", err)
	}
	if err := unix.Renameat(dir, tmp, dir, base); err != nil {
		return fail("rename", err)
	}
	return nil
}

func suffix() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// MkdirAll makes a folder and those above it; what is there stays as it is.
func (d *Dir) MkdirAll(name string, mode uint32, o Owner) error {
	name = clean(name)
	if fd, err := d.open(name, unix.O_PATH|unix.O_DIRECTORY); err == nil {
		return unix.Close(fd)
	} else if name == "." || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.MkdirAll(path.Dir(name), mode, o); err != nil {
		return err
	}
	fd, base, err := d.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, base, 0o700); err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	made, err := unix.Openat(fd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	defer unix.Close(made)
	return errors.Join(unix.Fchown(made, o.UID, o.GID), unix.Fchmod(made, mode))
}

// Remove removes a file or link itself; that it is not there is no error.
func (d *Dir) Remove(name string) error {
	fd, base, err := d.parent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Unlinkat(fd, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}
