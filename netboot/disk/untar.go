package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/confine"
)

// Untar unpacks a root file system below dir: files, folders, links, devices,
// with owners, modes, times and extended attributes. No entry can reach outside
// of dir, whatever its name and whatever links came before it. It returns what
// the files must hold, for [Files.Verify]. progress, if set, is told the bytes of
// files unpacked.
func Untar(ctx context.Context, r io.Reader, dir string, progress func(done int64)) (*Files, error) {
	root, err := confine.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t := tar.NewReader(r)
	u := &untarrer{root: root, files: &Files{dir: dir, byNode: map[node]int{}}}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return u.files, u.settle()
		}
		if err != nil {
			return nil, fmt.Errorf("read the tar: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := u.entry(h, t); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", h.Name, err)
		}
		if progress != nil {
			progress(u.files.Bytes)
		}
	}
}

type untarrer struct {
	root  *confine.Dir
	files *Files
	// folders get their times last: what is put in them changes those.
	folders []*tar.Header
}

// file writes one file and keeps its digest. A sparse one (GNU tar's -S) reads
// as what it stands for.
func (u *untarrer) file(h *tar.Header, r io.Reader, mode uint32, o confine.Owner) error {
	sum := blake3.New()
	if err := u.root.Create(h.Name, io.TeeReader(r, sum), mode, o); err != nil {
		return err
	}
	st, err := u.root.Lstat(h.Name)
	if err != nil {
		return err
	}
	u.files.add(node{st.Dev, st.Ino}, content{h.Name, st.Size, [32]byte(sum.Sum(nil))})
	return nil
}

var rootOwner = confine.Owner{}

func (u *untarrer) entry(h *tar.Header, r io.Reader) error {
	h.Name = strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	mode := uint32(h.Mode & 0o7777)
	o := confine.Owner{UID: h.Uid, GID: h.Gid}
	if h.Name == "" {
		u.folders = append(u.folders, h)
		return nil
	}
	if err := u.root.MkdirAll(path.Dir(h.Name), 0o755, rootOwner); err != nil {
		return err
	}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		u.folders = append(u.folders, h)
		if st, err := u.root.Lstat(h.Name); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fs.ErrExist
		}
		return u.root.MkdirAll(h.Name, 0o755, rootOwner)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		err = u.file(h, r, mode, o)
	case tar.TypeSymlink:
		err = u.root.Symlink(h.Linkname, h.Name, o)
	case tar.TypeLink:
		return u.root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), h.Name)
	case tar.TypeChar:
		err = u.root.Mknod(h.Name, unix.S_IFCHR|mode, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)), o)
	case tar.TypeBlock:
		err = u.root.Mknod(h.Name, unix.S_IFBLK|mode, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)), o)
	case tar.TypeFifo:
		err = u.root.Mknod(h.Name, unix.S_IFIFO|mode, 0, o)
	case tar.TypeXGlobalHeader:
		return nil
	default: // none of format.TarType's
		return fmt.Errorf("an entry of type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.attributes(h)
}

// xattrRecord is how GNU tar and Go's archive/tar keep extended attributes in
// PAX records.
const xattrRecord = "SCHILY.xattr."

func (u *untarrer) attributes(h *tar.Header) error {
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrRecord); ok {
			if err := u.root.SetXattr(h.Name, name, []byte(v)); err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
		}
	}
	return u.root.SetTime(h.Name, h.ModTime)
}

// settle gives folders their owners, modes, attributes and times, the innermost
// first.
func (u *untarrer) settle() error {
	for i := len(u.folders) - 1; i >= 0; i-- {
		h := u.folders[i]
		if h.Name == "" {
			h.Name = "."
		}
		err := u.root.SetOwnerMode(h.Name, uint32(h.Mode&0o7777), confine.Owner{UID: h.Uid, GID: h.Gid})
		if err == nil {
			err = u.attributes(h)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
	return nil
}
