package library

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/images/importer"
)

// reserve is what an import leaves free on the library's file system, in bytes.
const reserve = 512 << 20

// Progress is called with the bytes of the image read so far and, if it is
// known, how many there are; total is 0 otherwise.
type Progress func(done, total int64)

// Import adds an image from a file or from an http or https URL; see
// [Library.ImportReader].
func (l *Library) Import(ctx context.Context, src string, meta format.Meta, o importer.Options, progress Progress) (Image, error) {
	r, size, err := openSource(ctx, src)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", src, err)
	}
	defer r.Close()
	if free, err := l.free(); err == nil && size > free-reserve && size > 0 {
		return Image{}, fmt.Errorf("import %s: %w: it has %d bytes, %d are free and %d stay so", src, ErrNoSpace, size, free, int64(reserve))
	}
	img, err := l.ImportReader(ctx, r, meta, o, progress)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", src, err)
	}
	return img, nil
}

// openSource opens a file or URL and says how long it is, or 0.
func openSource(ctx context.Context, src string) (io.ReadCloser, int64, error) {
	if !strings.HasPrefix(src, "http://") && !strings.HasPrefix(src, "https://") {
		f, err := os.Open(src)
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		if err == nil && !st.Mode().IsRegular() && st.Mode()&os.ModeDevice == 0 {
			err = errors.New("neither a file nor a disk")
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, st.Size(), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, 0, fmt.Errorf("the server answers %s", res.Status)
	}
	return res.Body, max(res.ContentLength, 0), nil
}

// ImportReader adds an image from a stream in any form that package importer
// knows. meta.Created is now if it is zero. An image of the same name and
// version is refused with [ErrExists]; other errors wrap those of importer and
// format. Whatever fails, the library is as before.
func (l *Library) ImportReader(ctx context.Context, src io.Reader, meta format.Meta, o importer.Options, progress Progress) (Image, error) {
	return l.add(ctx, meta, func(tmp string) (*source, error) {
		if o.TempDir == "" {
			o.TempDir = tmp
		}
		img, err := importer.Open(ctx, src, o)
		if err != nil {
			return nil, err
		}
		return &source{img, img.Kind, img.Size, o.MaxSize, img.Finish, img.Close}, nil
	}, progress)
}

// Capture adds an image from a disk of size bytes.
func (l *Library) Capture(ctx context.Context, disk io.ReaderAt, size int64, meta format.Meta, progress Progress) (Image, error) {
	nothing := func() error { return nil }
	return l.add(ctx, meta, func(string) (*source, error) {
		return &source{io.NewSectionReader(disk, 0, size), format.Disk, size, size, nothing, nothing}, nil
	}, progress)
}

// source is what add packs.
type source struct {
	io.Reader
	kind          format.Kind
	size, max     int64
	finish, close func() error
}

// add is every way into the library: pack in tmp/, sync, rename, name.
func (l *Library) add(ctx context.Context, meta format.Meta, open func(tmp string) (*source, error), progress Progress) (Image, error) {
	if meta.Created.IsZero() {
		meta.Created = time.Now()
	}
	meta.Created = meta.Created.UTC().Truncate(time.Second)
	ref := Ref(meta.Name, meta.Version)
	if !format.ValidName(meta.Name) || !format.ValidName(meta.Version) {
		return Image{}, fmt.Errorf("%w: an image cannot be called %q", format.ErrMalformed, ref)
	}
	if err := l.claim(ref); err != nil {
		return Image{}, err
	}
	defer l.release(ref)
	tmp, err := os.MkdirTemp(l.path("tmp"), "import-*")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)
	src, err := open(tmp)
	if err != nil {
		return Image{}, err
	}
	img, err := l.pack(ctx, src, meta, tmp, progress)
	if err := errors.Join(err, src.close()); err != nil {
		return Image{}, err
	}
	return img, l.commit(img, filepath.Join(tmp, "image"))
}

// claim keeps two imports of one reference apart.
func (l *Library) claim(ref string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if img, ok := l.images[ref]; ok {
		return fmt.Errorf("%w: %s is %s; give another version", ErrExists, ref, img.Digest)
	}
	if l.pending[ref] {
		return fmt.Errorf("%w: %s is being imported", ErrExists, ref)
	}
	l.pending[ref] = true
	return nil
}

func (l *Library) release(ref string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, ref)
}

// pack writes tmp/image/{data,manifest} and syncs them.
func (l *Library) pack(ctx context.Context, src *source, meta format.Meta, tmp string, progress Progress) (Image, error) {
	payload := bufio.NewReaderSize(src, format.HeadBytes)
	head, err := payload.Peek(format.HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return Image{}, err
	}
	meta.SectorSize = 0
	if n := format.SectorSize(head); src.kind == format.Disk && n != 512 {
		meta.SectorSize = n
	}
	// Wrong metadata is told before an hour of packing, not after it.
	if err := meta.Validate(src.kind); err != nil {
		return Image{}, err
	}
	dir := filepath.Join(tmp, "image")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Image{}, err
	}
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	data := bufio.NewWriterSize(&careful{f: f, free: l.free}, 1<<20)
	o := format.PackOptions{MaxSize: src.max}
	if progress != nil {
		o.Progress = func(done int64) { progress(done, src.size) }
	}
	content, err := format.Pack(ctx, payload, data, o)
	if err != nil {
		return Image{}, err
	}
	if err := errors.Join(src.finish(), data.Flush(), f.Sync()); err != nil {
		return Image{}, err
	}
	m := &format.Manifest{Kind: src.kind, Meta: meta, Content: *content}
	raw, err := m.Sign(l.key)
	if err != nil {
		return Image{}, err
	}
	return describe(m, format.Sum(raw).String()), writeFile(filepath.Join(dir, "manifest"), raw, 0o644)
}

// commit gives a synced image its place and then its name.
func (l *Library) commit(img Image, dir string) error {
	place := l.path("images", img.Digest)
	if err := os.Rename(dir, place); err != nil {
		return err
	}
	err := syncDir(l.path("images"))
	if err == nil {
		err = writeRef(l.path("refs", img.Ref), l.path("tmp", img.Digest), img.Digest)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(place))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.images[img.Ref] = img
	return nil
}

// writeRef names an image; the reference is whole or not there.
func writeRef(path, tmp, digest string) error {
	if err := writeFile(tmp, []byte(digest+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// free is how many bytes the library's file system has left.
func (l *Library) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(l.dir, &s); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// careful stops an import before it fills the file system, on which leases and
// state may be too. It looks every 64 MiB.
type careful struct {
	f     *os.File
	free  func() (int64, error)
	since int
	began bool
}

func (c *careful) Write(p []byte) (int, error) {
	if c.since += len(p); c.since > 64<<20 || !c.began {
		c.since, c.began = 0, true
		free, err := c.free()
		if err != nil {
			return 0, err
		}
		if free < reserve {
			return 0, fmt.Errorf("%w: %d bytes are left, %d stay so", ErrNoSpace, free, int64(reserve))
		}
	}
	return c.f.Write(p)
}
