package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

func tarOf(t testing.TB, files ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range files {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Each file is compared with what the tar has last for it, by whatever name.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	files, err := Untar(t.Context(), tarOf(t,
		tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"},
		tar.Header{Name: "d/f", Typeflag: tar.TypeReg}, tar.Header{Name: "l/f", Typeflag: tar.TypeReg}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"},
		tar.Header{Name: "gone", Typeflag: tar.TypeReg}, tar.Header{Name: "gone", Typeflag: tar.TypeSymlink, Linkname: "d/f"},
		tar.Header{Name: "twice", Typeflag: tar.TypeReg}, tar.Header{Name: "twice", Typeflag: tar.TypeReg},
	), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	var p *job.Problem
	if err := os.WriteFile(filepath.Join(dir, "d/f"), []byte("L/f"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := files.Verify(t.Context(), nil); !errors.As(err, &p) || p.Code != "readback-mismatch" || !p.Retry {
		t.Errorf("another content: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "twice")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "d/f"), []byte("l/f"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := files.Verify(t.Context(), nil); !errors.As(err, &p) || p.Code != "disk-io" {
		t.Errorf("a file that is gone: %v", err)
	}
}

// What the importer takes is what Untar unpacks.
func TestUntarTypes(t *testing.T) {
	for flag := 1; flag < 128; flag++ { // 0 is read as a file's
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := tar.Header{Name: "e", Typeflag: byte(flag)}
		if flag == tar.TypeLink {
			h.Linkname = "."
		}
		if w.WriteHeader(&h) != nil || w.Close() != nil {
			continue // Go's writer makes none of this type
		}
		_, err := Untar(t.Context(), &b, t.TempDir(), nil)
		refused := err != nil && strings.Contains(err.Error(), "an entry of type")
		if refused == format.TarType(byte(flag)) {
			t.Errorf("type %q: %v", rune(flag), err)
		}
	}
}

// GNU tar -S writes entries of a type of their own.
func TestUntarSparse(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-C", src, "--format=gnu", "-cSf", "-", "s").Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) > 1<<20 {
		t.Fatalf("the tar of %d bytes is not sparse", len(out))
	}
	files, err := Untar(t.Context(), bytes.NewReader(out), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "s"))
	if err != nil || len(b) != 1<<20+3 || string(b[1<<20:]) != "end" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// FuzzUntar unpacks whatever comes; nothing appears outside of the folder.
func FuzzUntar(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "d/f", Typeflag: tar.TypeReg}, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../.."}, tar.Header{Name: "d/l/x", Typeflag: tar.TypeReg}).Bytes())
	f.Add(tarOf(f, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "../a"}, tar.Header{Name: "n", Typeflag: tar.TypeFifo}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return // a bomb is the caller's to bound: the disk is
		}
		base := t.TempDir()
		dir := filepath.Join(base, "a", "b", "root")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = Untar(t.Context(), io.LimitReader(bytes.NewReader(b), 64<<10), dir, nil)
		for _, d := range []string{base, filepath.Join(base, "a"), filepath.Join(base, "a", "b")} {
			if es, err := os.ReadDir(d); err != nil || len(es) != 1 {
				t.Fatalf("%s has %v, %v", d, es, err)
			}
		}
	})
}
