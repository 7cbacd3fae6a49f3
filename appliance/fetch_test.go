package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/images/library"
)

// imageShelf is an image desk over a library in dir.
type imageShelf struct {
	*imageDesk
	dir string
}

func newImageDesk(t *testing.T) *imageShelf {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	lib, err := library.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	return &imageShelf{&imageDesk{lib: lib, base: "http://10.0.0.1", fetch: newFetcher(false)}, dir}
}

// disk is a raw image with a boot sector.
func disk() string {
	b := make([]byte, 1<<20)
	b[510], b[511] = 0x55, 0xaa
	return string(b)
}

func (d *imageShelf) importing(t *testing.T, spec api.ImportSpec, r io.Reader) error {
	t.Helper()
	spec.Name, spec.Version = "mini", "1"
	_, err := d.Import(t.Context(), spec, r, func(int64, int64) {})
	return err
}

// TestImportSources: neither the appliance's disks nor what answers only to its
// own host are read for anybody who names them.
func TestImportSources(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/disk" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, disk())
	}))
	defer inner.Close()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte(disk()), 0o600); err != nil {
		t.Fatal(err)
	}
	port := inner.URL[strings.LastIndex(inner.URL, ":"):]
	for _, c := range []struct {
		spec  api.ImportSpec
		local bool
		want  string // "" is taken
	}{
		{api.ImportSpec{Path: file}, false, ""},
		{api.ImportSpec{Path: "/dev/null"}, false, "is a disk"},
		{api.ImportSpec{Path: t.TempDir()}, false, "neither a file nor a disk"},
		{api.ImportSpec{Path: "/no/such/file"}, false, "no such file"},
		{api.ImportSpec{Path: inner.URL + "/disk"}, false, errNear.Error()},
		{api.ImportSpec{Path: "http://localhost" + port + "/disk"}, false, errNear.Error()},
		{api.ImportSpec{Path: "http://[::ffff:127.0.0.1]" + port + "/disk"}, false, errNear.Error()},
		{api.ImportSpec{Path: "http://0.0.0.0" + port + "/disk"}, false, errNear.Error()},
		{api.ImportSpec{Path: "http://169.254.169.254/latest"}, false, errNear.Error()},
		{api.ImportSpec{Path: inner.URL + "/disk"}, true, ""},
		{api.ImportSpec{Path: inner.URL + "/other"}, true, "404"},
		{api.ImportSpec{Path: "http://"}, true, "import"},
	} {
		d := newImageDesk(t)
		d.fetch = newFetcher(c.local)
		err := d.importing(t, c.spec, nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.spec.Path, err)
		case c.want != "" && (!errors.Is(err, api.ErrBadInput) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.spec.Path, err, c.want)
		}
	}
	if err := checkSource("/dev/null", true); err != nil {
		t.Errorf("a device that was asked for: %v", err)
	}
}

// TestImageErrors: what the caller did is told from what the appliance's disk
// did, and from who hung up.
func TestImageErrors(t *testing.T) {
	d := newImageDesk(t)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	_, err := d.Import(ctx, api.ImportSpec{Name: "mini", Version: "1"}, strings.NewReader(disk()), func(int64, int64) {})
	if err == nil || errors.Is(err, api.ErrBadInput) {
		t.Errorf("hung up: %v", err)
	}
	if err := d.importing(t, api.ImportSpec{}, strings.NewReader("no disk at all")); !errors.Is(err, api.ErrBadInput) {
		t.Errorf("no image: %v", err)
	}
	if err := d.importing(t, api.ImportSpec{Checksum: "sha256:" + strings.Repeat("0", 64)}, strings.NewReader(disk())); !errors.Is(err, api.ErrBadInput) {
		t.Errorf("another checksum: %v", err)
	}
	if err := d.importing(t, api.ImportSpec{}, strings.NewReader(disk())); err != nil {
		t.Fatal(err)
	}
	if err := d.importing(t, api.ImportSpec{}, strings.NewReader(disk())); !errors.Is(err, api.ErrConflict) {
		t.Errorf("there already: %v", err)
	}
	verify := func(ref string) error { return d.Verify(t.Context(), ref, func(int64, int64) {}) }
	if err := verify("other"); !errors.Is(err, api.ErrNoImage) {
		t.Errorf("no such image: %v", err)
	}
	if err := verify("mini"); err != nil {
		t.Error(err)
	}
	img, err := d.lib.Get("mini")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(d.dir, "images", img.Digest, "data"), 1); err != nil {
		t.Fatal(err)
	}
	if err := verify("mini"); err == nil || errors.Is(err, api.ErrBadInput) || errors.Is(err, api.ErrConflict) {
		t.Errorf("damaged: %v", err)
	}
}
