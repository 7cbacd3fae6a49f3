package library

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/images/importer"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/write"
)

func open(t testing.TB, dir string) *Library {
	t.Helper()
	l, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func meta(name, version string) format.Meta {
	return format.Meta{Name: name, Version: version, Arch: "amd64", Firmware: "both", ServerKind: "plain"}
}

// disk is size bytes that look like a disk.
func disk(size int) []byte {
	b := make([]byte, size)
	for at := 100 << 10; at+5000 < size; at += 700 << 10 {
		copy(b[at:], strings.Repeat(fmt.Sprint("gantry ", at), 400))
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// tree lists every file below dir.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestImportServeWrite carries an image all the way: from a file through the
// library and HTTP onto a disk.
func TestImportServeWrite(t *testing.T) {
	l := open(t, t.TempDir())
	raw := disk(9<<20 + 512)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	img, err := l.Import(t.Context(), path, meta("debian", "12"), importer.Options{
		Checksum: fmt.Sprintf("sha256:%x", sha256.Sum256(raw)),
	}, func(d, tot int64) { done, total = d, tot })
	if err != nil {
		t.Fatal(err)
	}
	if done != int64(len(raw)) || img.Size != int64(len(raw)) || img.Ref != "debian:12" {
		t.Errorf("%+v, done %d of %d", img, done, total)
	}
	if err := l.Verify(t.Context(), "debian", nil); err != nil {
		t.Error(err)
	}
	s := httptest.NewServer(http.StripPrefix("/images", l.Handler()))
	defer s.Close()
	target := filepath.Join(t.TempDir(), "target")
	if _, err := write.Write(t.Context(), write.Request{
		Image: job.ImageRef{
			Name: img.Ref, ManifestURL: s.URL + "/images/" + img.Digest + "/manifest", DataURL: s.URL + "/images/" + img.Digest + "/data",
			ManifestDigest: img.Digest, PublicKeys: []string{l.PublicKey()},
		},
		Target: target, Arch: "amd64", ReadBack: true,
	}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(target); !bytes.Equal(got, raw) {
		t.Error("what was written is not what was imported")
	}
}

func TestImportURL(t *testing.T) {
	raw := disk(3 << 20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/short":
			w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
			w.Write(raw[:1<<20])
		case "/good":
			w.Write(raw)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	l := open(t, t.TempDir())
	for _, p := range []string{"/short", "/none"} {
		if _, err := l.Import(t.Context(), s.URL+p, meta("a", "1"), importer.Options{}, nil); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
	if _, err := l.Import(t.Context(), s.URL+"/good", meta("a", "1"), importer.Options{}, nil); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	before := tree(t, dir)
	raw := disk(3 << 20)
	cut := disk(3 << 20)
	cut[446+4], cut[446+8], cut[446+13] = 0x83, 8, 0xff
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		src  []byte
		meta format.Meta
		o    importer.Options
		want error
	}{
		{"checksum", t.Context(), raw, meta("a", "1"), importer.Options{Checksum: "sha256:" + strings.Repeat("0", 64)}, importer.ErrChecksum},
		{"truncated", t.Context(), cut, meta("a", "1"), importer.Options{}, importer.ErrTruncated},
		{"oversized", t.Context(), raw, meta("a", "1"), importer.Options{MaxSize: 1 << 20}, format.ErrTooLarge},
		{"unknown", t.Context(), []byte("hello"), meta("a", "1"), importer.Options{}, importer.ErrUnsupported},
		{"name", t.Context(), raw, meta("../a", "1"), importer.Options{}, format.ErrMalformed},
		{"arch", t.Context(), raw, format.Meta{Name: "a", Version: "1"}, importer.Options{}, format.ErrMalformed},
		{"cancelled", cancelled, raw, meta("a", "1"), importer.Options{}, context.Canceled},
	}
	for _, tt := range tests {
		_, err := l.ImportReader(tt.ctx, bytes.NewReader(tt.src), tt.meta, tt.o, nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if d := cmp.Diff(before, tree(t, dir)); d != "" {
			t.Errorf("%s left files (-before +after):\n%s", tt.name, d)
		}
	}
	if _, err := l.ImportReader(t.Context(), bytes.NewReader(raw), meta("a", "1"), importer.Options{}, nil); err != nil {
		t.Errorf("the name is not free after failures: %v", err)
	}
}

func TestOneNameIsOneImage(t *testing.T) {
	l := open(t, t.TempDir())
	reading, release := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		r := io.MultiReader(bytes.NewReader(disk(1<<20)), waitReader{reading, release})
		if _, err := l.ImportReader(t.Context(), r, meta("a", "1"), importer.Options{}, nil); err != nil {
			t.Error(err)
		}
	})
	<-reading // so the first one has claimed the name
	if _, err := l.ImportReader(t.Context(), bytes.NewReader(disk(1<<20)), meta("a", "1"), importer.Options{}, nil); !errors.Is(err, ErrExists) {
		t.Errorf("while it is imported: got %v, want ErrExists", err)
	}
	close(release)
	first.Wait()
	_, err := l.ImportReader(t.Context(), bytes.NewReader(disk(1<<20)), meta("a", "1"), importer.Options{}, nil)
	if !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
}

// waitReader says that it is read, and ends when it may.
type waitReader struct{ reading, until chan struct{} }

func (w waitReader) Read([]byte) (int, error) {
	close(w.reading)
	<-w.until
	return 0, io.EOF
}

func TestGetListDelete(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i, v := range []string{"2", "10"} {
		m := meta("a", v)
		m.Created = time.Unix(int64(1000*i), 0)
		if _, err := l.ImportReader(t.Context(), bytes.NewReader(disk(1<<20)), m, importer.Options{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if img, err := l.Get("a"); err != nil || img.Version != "10" {
		t.Errorf("the newest is %q, %v", img.Version, err)
	}
	if _, err := l.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	err := l.Delete("a:2", func(string) []string { return []string{"machine m1"} })
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "machine m1") {
		t.Errorf("got %v, want ErrInUse by machine m1", err)
	}
	nobody := func(string) []string { return nil }
	if err := l.Delete("a:2", nobody); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete("a:2", nobody); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if n := len(l.List()); n != 1 {
		t.Errorf("%d images left, want 1", n)
	}
	if files := tree(t, dir); len(files) != 5 { // lock, key, ref, manifest, data
		t.Errorf("files left: %v", files)
	}
}

// TestReopen finds the same images and key, and removes what a crash left.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if _, err := l.ImportReader(t.Context(), bytes.NewReader(disk(1<<20)), meta("a", "1"), importer.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened twice")
	}
	images, key, before := l.List(), l.PublicKey(), tree(t, dir)
	l.Close()
	// A crash while packing, one before the name was written, one while deleting.
	for _, p := range []string{"tmp/import-1/image/data", "images/" + strings.Repeat("ab", 32) + "/data", "tmp/x"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, p), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l = open(t, dir)
	if d := cmp.Diff(images, l.List()); d != "" || key != l.PublicKey() {
		t.Errorf("changed: %s", d)
	}
	if d := cmp.Diff(before, tree(t, dir)); d != "" {
		t.Errorf("files (-before +after):\n%s", d)
	}
	if st, err := os.Stat(filepath.Join(dir, "key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", st.Mode(), err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	img, err := l.ImportReader(t.Context(), bytes.NewReader(disk(5<<20)), meta("a", "1"), importer.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"data", "manifest"} {
		path := filepath.Join(dir, "images", img.Digest, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		for _, b := range [][]byte{bad, good[:len(good)-1], nil} {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := l.Verify(t.Context(), "a:1", nil); !errors.Is(err, format.ErrDigest) {
				t.Errorf("%s of %d bytes: got %v, want ErrDigest", file, len(b), err)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Verify(t.Context(), "a:1", nil); err != nil {
		t.Error(err)
	}
}

func TestCaptureIsLikeImport(t *testing.T) {
	l := open(t, t.TempDir())
	raw := disk(5 << 20)
	a, err := l.ImportReader(t.Context(), bytes.NewReader(raw), meta("a", "1"), importer.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Capture(t.Context(), bytes.NewReader(raw), int64(len(raw)), meta("b", "1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Size != b.Size || a.Stored != b.Stored || a.Chunks != b.Chunks {
		t.Errorf("imported %+v, captured %+v", a, b)
	}
}

// TestSectorSize: an image says if its partition table is not for sectors of 512
// bytes, whatever was said of it.
func TestSectorSize(t *testing.T) {
	l := open(t, t.TempDir())
	for at, want := range map[int]int{0: 0, 512: 0, 4096: 4096} {
		raw := disk(5 << 20)
		if at > 0 {
			copy(raw[at:], "EFI PART")
		}
		m := meta(fmt.Sprint("s", at), "1")
		m.SectorSize = 7
		a, err := l.ImportReader(t.Context(), bytes.NewReader(raw), m, importer.Options{}, nil)
		if err != nil || a.SectorSize != want {
			t.Errorf("a table at %d: imported with %d, %v", at, a.SectorSize, err)
		}
		m.Version = "2"
		b, err := l.Capture(t.Context(), bytes.NewReader(raw), int64(len(raw)), m, nil)
		if err != nil || b.SectorSize != want {
			t.Errorf("a table at %d: captured with %d, %v", at, b.SectorSize, err)
		}
	}
}

func TestRootFS(t *testing.T) {
	l := open(t, t.TempDir())
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "etc/hostname", Mode: 0o644, Size: 2})
	io.WriteString(w, "x\n")
	w.Close()
	m := meta("tree", "1")
	m.Firmware = ""
	img, err := l.ImportReader(t.Context(), &b, m, importer.Options{}, nil)
	if err != nil || img.Kind != format.RootFS {
		t.Errorf("%+v, %v", img, err)
	}
}

func TestHandler(t *testing.T) {
	l := open(t, t.TempDir())
	img, err := l.ImportReader(t.Context(), bytes.NewReader(disk(2<<20)), meta("a", "1"), importer.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path, rng string
		status            int
		length            int64
	}{
		{"GET", "/" + img.Digest + "/data", "", 200, img.Stored},
		{"HEAD", "/" + img.Digest + "/data", "", 200, img.Stored},
		{"GET", "/" + img.Digest + "/data", "bytes=5-9", 206, 5},
		{"GET", "/" + img.Digest + "/data", "bytes=999999999-", 416, -1},
		{"GET", "/" + strings.Repeat("0", 64) + "/data", "", 404, -1},
		{"GET", "/" + strings.ToUpper(img.Digest) + "/data", "", 404, -1},
		{"GET", "/../key", "", 404, -1},
		{"GET", "/%2e%2e/manifest", "", 404, -1},
		{"GET", "/" + img.Digest + "/key", "", 404, -1},
		{"PUT", "/" + img.Digest + "/data", "", 405, -1},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.rng != "" {
			r.Header.Set("Range", tt.rng)
		}
		w := httptest.NewRecorder()
		l.Handler().ServeHTTP(w, r)
		res := w.Result()
		if res.StatusCode != tt.status && !(tt.status == 404 && res.StatusCode/100 == 3) {
			t.Errorf("%s %s %s: %s, want %d", tt.method, tt.path, tt.rng, res.Status, tt.status)
		}
		if tt.length >= 0 && res.Header.Get("Content-Length") != fmt.Sprint(tt.length) {
			t.Errorf("%s %s %s: %s bytes, want %d", tt.method, tt.path, tt.rng, res.Header.Get("Content-Length"), tt.length)
		}
	}
}
