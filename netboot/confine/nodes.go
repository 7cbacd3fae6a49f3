package confine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// at does something to the last element of a path in its folder.
func (d *Dir) at(op, name string, do func(dir int, base string) error) error {
	dir, base, err := d.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := do(dir, base); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// Lstat says what a path is, not following a link at its end.
func (d *Dir) Lstat(name string) (st unix.Stat_t, err error) {
	err = d.at("lstat", name, func(dir int, base string) error {
		return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// replace takes a file or link away so that a new one can be made.
func replace(dir int, base string) error {
	if err := unix.Unlinkat(dir, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Create makes a new file with r's bytes, in the place of a file or link that
// was there. It does not sync.
func (d *Dir) Create(name string, r io.Reader, mode uint32, o Owner) error {
	return d.at("create", name, func(dir int, base string) error {
		if err := replace(dir, base); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		if _, err := io.Copy(f, r); err != nil {
			return err
		}
		return errors.Join(unix.Fchown(fd, o.UID, o.GID), unix.Fchmod(fd, mode))
	})
}

// Symlink makes a link; its target is only text.
func (d *Dir) Symlink(target, name string, o Owner) error {
	return d.at("symlink", name, func(dir int, base string) error {
		if err := replace(dir, base); err != nil {
			return err
		}
		if err := unix.Symlinkat(target, dir, base); err != nil {
			return err
		}
		return unix.Fchownat(dir, base, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// Link makes name another name of the file old, which is below the folder too
// and not followed if it is a link.
func (d *Dir) Link(old, name string) error {
	from, oldBase, err := d.parent(old)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return d.at("link", name, func(dir int, base string) error {
		if err := replace(dir, base); err != nil {
			return err
		}
		return unix.Linkat(from, oldBase, dir, base, 0)
	})
}

// Mknod makes a device or named pipe.
func (d *Dir) Mknod(name string, mode uint32, dev uint64, o Owner) error {
	return d.at("mknod", name, func(dir int, base string) error {
		if err := replace(dir, base); err != nil {
			return err
		}
		if err := unix.Mknodat(dir, base, mode, int(dev)); err != nil {
			return err
		}
		return errors.Join(unix.Fchownat(dir, base, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW), unix.Fchmodat(dir, base, mode&0o7777, 0))
	})
}

// SetXattr sets an extended attribute of a file, folder or device.
func (d *Dir) SetXattr(name, attr string, value []byte) error {
	st, err := d.lstatAny(name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil // none that matter, and none that this could set safely
	}
	fd, err := d.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// A path descriptor has no fsetxattr; its name in proc leads to it.
	if err := unix.Setxattr("/proc/self/fd/"+strconv.Itoa(fd), attr, value, 0); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (d *Dir) lstatAny(name string) (unix.Stat_t, error) {
	if clean(name) == "." {
		return d.Stat(".")
	}
	return d.Lstat(name)
}

// SetTime sets the modification time, of a link itself too.
func (d *Dir) SetTime(name string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	times := []unix.Timespec{ts, ts}
	if clean(name) == "." {
		return unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(d.fd), times, 0)
	}
	return d.at("utimes", name, func(dir int, base string) error {
		return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// SetOwnerMode changes a folder that is there.
func (d *Dir) SetOwnerMode(name string, mode uint32, o Owner) error {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Fchown(fd, o.UID, o.GID), unix.Fchmod(fd, mode))
}
