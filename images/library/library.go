package library

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/images/format"
)

// Errors that callers tell apart; each comes wrapped with what and where.
var (
	// ErrNotFound: no image has this name, or name and version.
	ErrNotFound = errors.New("no such image")
	// ErrExists: an image of this name and version is there, or being imported.
	ErrExists = errors.New("image exists")
	// ErrInUse: the image cannot be deleted because something needs it.
	ErrInUse = errors.New("image in use")
	// ErrNoSpace: the file system would be full.
	ErrNoSpace = errors.New("no space for image")
)

// Library is an open directory of images. Its methods may be called by several
// goroutines at once.
type Library struct {
	dir  string
	key  ed25519.PrivateKey
	lock *os.File
	log  *slog.Logger

	mu      sync.Mutex
	images  map[string]Image // by reference; guarded by mu
	pending map[string]bool  // references being imported; guarded by mu
}

// Image is one image of the library.
type Image struct {
	// Ref is "name:version".
	Ref string `json:"ref"`
	// Digest is the manifest's digest, 64 hex digits: the image's name for
	// machines, and in [Library.Handler]'s URLs.
	Digest string      `json:"digest"`
	Kind   format.Kind `json:"kind"`
	format.Meta
	// Size is the image's size on a disk, Payload what of it is not zeros, and
	// Stored what it takes in the library; bytes.
	Size    int64 `json:"size"`
	Payload int64 `json:"payload"`
	Stored  int64 `json:"stored"`
	// Chunks is how many pieces it is stored in.
	Chunks int `json:"chunks"`
}

// Ref is the reference of a name and version.
func Ref(name, version string) string { return name + ":" + version }

func describe(m *format.Manifest, digest string) Image {
	return Image{
		Ref: Ref(m.Meta.Name, m.Meta.Version), Digest: digest, Kind: m.Kind, Meta: m.Meta,
		Size: m.Size, Payload: m.Payload(), Stored: m.DataSize(), Chunks: len(m.Chunks),
	}
}

// Open opens a directory, makes it and its signing key on first use, and
// removes what unfinished work left. It fails if another process has it open.
func Open(dir string, log *slog.Logger) (*Library, error) {
	for _, sub := range []string{"images", "refs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open image library: %w", err)
		}
	}
	l := &Library{dir: dir, log: log, images: map[string]Image{}, pending: map[string]bool{}}
	if err := l.open(); err != nil {
		l.Close()
		return nil, fmt.Errorf("open image library %s: %w", dir, err)
	}
	return l, nil
}

func (l *Library) open() (err error) {
	if l.lock, err = os.OpenFile(l.path("lock"), os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return err
	}
	if err := unix.Flock(int(l.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process has it open: %w", err)
	}
	if l.key, err = loadKey(l.path("key")); err != nil {
		return err
	}
	if err := emptyDir(l.path("tmp")); err != nil {
		return err
	}
	if err := l.load(); err != nil {
		return err
	}
	return l.collect()
}

// Close lets another process open the directory. Images being served stay so.
func (l *Library) Close() error {
	if l.lock == nil {
		return nil
	}
	return l.lock.Close()
}

func (l *Library) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}

// PublicKey is the key that the library signs with, base64, as
// [format.Manifest.SignedBy] wants it.
func (l *Library) PublicKey() string {
	return format.EncodeKey(l.key.Public().(ed25519.PublicKey))
}

// load reads every reference. One that is broken is reported and left out: the
// others are of use.
func (l *Library) load() error {
	entries, err := os.ReadDir(l.path("refs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		img, err := l.loadRef(e.Name())
		if err != nil {
			l.log.Error("image left out", "ref", e.Name(), "err", err)
			continue
		}
		l.images[img.Ref] = img
	}
	return nil
}

func (l *Library) loadRef(ref string) (Image, error) {
	raw, err := os.ReadFile(l.path("refs", ref))
	if err != nil {
		return Image{}, err
	}
	digest := strings.TrimSpace(string(raw))
	m, err := l.manifest(digest)
	if err != nil {
		return Image{}, err
	}
	img := describe(m, digest)
	if img.Ref != ref {
		return Image{}, fmt.Errorf("%w: it names %s", format.ErrMalformed, img.Ref)
	}
	st, err := os.Stat(l.path("images", digest, "data"))
	if err == nil && st.Size() != m.DataSize() {
		err = fmt.Errorf("%w: %d bytes of data, not %d", format.ErrMalformed, st.Size(), m.DataSize())
	}
	return img, err
}

// manifest reads an image's manifest and checks it against its name.
func (l *Library) manifest(digest string) (*format.Manifest, error) {
	if _, err := format.ParseDigest(digest); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(l.path("images", digest, "manifest"))
	if err != nil {
		return nil, err
	}
	if got := format.Sum(raw).String(); got != digest {
		return nil, fmt.Errorf("%w: the manifest is %s, not %s", format.ErrDigest, got, digest)
	}
	return format.Parse(raw)
}

// collect removes images that no reference names: a deletion or an import that
// did not get to its end.
func (l *Library) collect() error {
	refs, err := os.ReadDir(l.path("refs"))
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, r := range refs {
		raw, err := os.ReadFile(l.path("refs", r.Name()))
		if err != nil {
			return err
		}
		named[strings.TrimSpace(string(raw))] = true
	}
	kept, err := os.ReadDir(l.path("images"))
	if err != nil {
		return err
	}
	for _, k := range kept {
		if !named[k.Name()] {
			l.log.Info("removing an image that nothing names", "digest", k.Name())
			if err := os.RemoveAll(l.path("images", k.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// List returns all images by name, the newest of each name first.
func (l *Library) List() []Image {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Image, 0, len(l.images))
	for _, img := range l.images {
		all = append(all, img)
	}
	slices.SortFunc(all, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Created.Compare(a.Created), cmp.Compare(b.Version, a.Version))
	})
	return all
}

// Get finds "name:version", or the newest version of "name". An error wraps
// [ErrNotFound].
func (l *Library) Get(ref string) (Image, error) {
	for _, img := range l.List() {
		if img.Ref == ref || img.Name == ref {
			return img, nil
		}
	}
	return Image{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
}

// Delete removes an image. inUse says what needs it, for a message to people;
// anything but nothing refuses with [ErrInUse]. A transfer that has begun is not
// disturbed.
func (l *Library) Delete(ref string, inUse func(ref string) []string) error {
	img, err := l.Get(ref)
	if err != nil {
		return err
	}
	if users := inUse(img.Ref); len(users) > 0 {
		return fmt.Errorf("%w: %s is needed by %s", ErrInUse, img.Ref, strings.Join(users, ", "))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.Remove(l.path("refs", img.Ref)); err != nil {
		return fmt.Errorf("delete image %s: %w", img.Ref, err)
	}
	delete(l.images, img.Ref)
	if err := syncDir(l.path("refs")); err != nil {
		return fmt.Errorf("delete image %s: %w", img.Ref, err)
	}
	if err := os.RemoveAll(l.path("images", img.Digest)); err != nil {
		return fmt.Errorf("delete image %s: its reference is gone, its data is removed at the next start: %w", img.Ref, err)
	}
	return nil
}
