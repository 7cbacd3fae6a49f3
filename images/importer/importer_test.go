package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/gantry-pod/gantry/images/format"
)

// disk is a raw disk of size bytes with an MBR whose partition fills it.
func disk(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	for at := 64 << 10; at+4096 < size; at += 8192 + r.IntN(300<<10) {
		for i := range 4096 {
			b[at+i] = byte(r.Uint32() % 7)
		}
	}
	b[510], b[511] = 0x55, 0xaa
	b[446+4] = 0x83
	binary.LittleEndian.PutUint32(b[446+8:], 8)
	binary.LittleEndian.PutUint32(b[446+12:], uint32(size/512-8))
	return b
}

func archive(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: 5}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "hello")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "gz":
		w = gzip.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	default:
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(t testing.TB, src []byte, o Options) ([]byte, format.Kind, error) {
	t.Helper()
	o.TempDir = t.TempDir()
	img, err := Open(t.Context(), bytes.NewReader(src), o)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}()
	b, err := io.ReadAll(img)
	if err == nil {
		err = img.Finish()
	}
	return b, img.Kind, err
}

// qcow2 converts a disk with the field's own tool.
func qcow2(t testing.TB, raw []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), in, out)...)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-img (package qemu-utils): %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormats(t *testing.T) {
	raw := disk(5 << 20)
	files := archive(t, "etc/hostname", "./usr/bin/x", "/abs")
	sources := []struct {
		name string
		kind format.Kind
		src  []byte
		want []byte
	}{
		{"raw", format.Disk, raw, raw},
		{"tar", format.RootFS, files, files},
		{"qcow2", format.Disk, qcow2(t, raw), raw},
		{"qcow2 v2", format.Disk, qcow2(t, raw, "-o", "compat=0.10"), raw},
		{"qcow2 zlib", format.Disk, qcow2(t, raw, "-c"), raw},
		{"qcow2 zstd", format.Disk, qcow2(t, raw, "-c", "-o", "compression_type=zstd"), raw},
		{"qcow2 small clusters", format.Disk, qcow2(t, raw, "-c", "-o", "cluster_size=512"), raw},
		{"qcow2 large clusters", format.Disk, qcow2(t, raw, "-o", "cluster_size=2M"), raw},
	}
	for _, s := range sources {
		for _, c := range []string{"none", "gz", "zst", "xz"} {
			t.Run(s.name+" "+c, func(t *testing.T) {
				src := compress(t, c, s.src)
				sum := fmt.Sprintf("sha256:%x", sha256.Sum256(src))
				got, kind, err := read(t, src, Options{Checksum: sum})
				if err != nil || kind != s.kind || !bytes.Equal(got, s.want) {
					t.Errorf("kind %q, %d bytes of %d, equal %v, err %v", kind, len(got), len(s.want), bytes.Equal(got, s.want), err)
				}
			})
		}
	}
}

// labelled is a tar as GNU tar's --label makes it.
func labelled(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "backup", Typeflag: 'V'}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRefused(t *testing.T) {
	raw := disk(2 << 20)
	gpt := bytes.Clone(raw)
	copy(gpt[512:], "EFI PART")
	binary.LittleEndian.PutUint64(gpt[512+32:], 2<<20/512)
	at := func(off int, s string) []byte {
		b := make([]byte, 64<<10)
		copy(b[off:], s)
		return b
	}
	header := func(change func(h []byte)) []byte {
		b := qcow2(t, raw)
		change(b)
		return b
	}
	put32 := func(off int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
	}
	put64 := func(off int, v uint64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
	}
	noEnd := archive(t, "a", "b")
	gz, zst, x := compress(t, "gz", raw), compress(t, "zst", raw), compress(t, "xz", raw)
	tests := []struct {
		name string
		src  []byte
		o    Options
		want error
		says string
	}{
		{"empty", nil, Options{}, ErrTruncated, "empty"},
		{"noise", at(100, "hello"), Options{}, ErrUnsupported, "say format raw"},
		{"vmdk", at(0, "KDMV"), Options{}, ErrUnsupported, "VMDK"},
		{"vmdk as raw", at(0, "KDMV"), Options{Format: "raw"}, ErrUnsupported, "VMDK"},
		{"vhdx", at(0, "vhdxfile"), Options{}, ErrUnsupported, "VHDX"},
		{"vdi", at(0x40, "\x7f\x10\xda\xbe"), Options{}, ErrUnsupported, "VDI"},
		{"iso", at(0x8001, "CD001"), Options{}, ErrUnsupported, "ISO 9660"},
		{"luks", at(0, "LUKS\xba\xbe"), Options{}, ErrUnsupported, "LUKS"},
		{"bzip2", []byte("BZh91AY&SY"), Options{}, ErrUnsupported, "bzip2"},
		{"zip", []byte("PK\x03\x04"), Options{}, ErrUnsupported, "zip"},
		{"gz in gz", compress(t, "gz", gz), Options{}, ErrUnsupported, "within another"},
		{"raw that is qcow2", qcow2(t, raw), Options{Format: "raw"}, ErrUnsupported, "this is qcow2, not raw"},
		{"said xz", gz, Options{Compression: "xz"}, ErrUnsupported, "not \"xz\""},
		{"unknown format", raw, Options{Format: "ova"}, ErrUnsupported, "\"ova\""},
		{"wrong checksum", raw, Options{Checksum: "sha256:" + strings.Repeat("0", 64)}, ErrChecksum, ""},
		{"no checksum", raw, Options{Checksum: "md5:1"}, ErrChecksum, "64 hex digits"},
		{"gpt cut off", gpt, Options{}, ErrTruncated, "partition table reaches to"},
		{"mbr cut off", raw[:1<<20], Options{}, ErrTruncated, "partition table reaches to"},
		{"gz cut off", gz[:len(gz)-9], Options{}, ErrTruncated, "gz"},
		{"gz header only", gz[:5], Options{}, ErrTruncated, "gz"},
		{"zst cut off", zst[:len(zst)-9], Options{}, ErrTruncated, "zst"},
		{"xz cut off", x[:len(x)-20], Options{}, ErrTruncated, "xz"},
		{"gz altered", append(bytes.Clone(gz[:len(gz)-8]), 1, 2, 3, 4, 5, 6, 7, 8), Options{}, ErrCorrupt, "gz"},
		{"tar cut off in a file", noEnd[:512+3], Options{}, ErrTruncated, "within file"},
		{"tar without end", noEnd[:2048], Options{}, ErrTruncated, "no end marker"},
		{"tar altered", append(bytes.Repeat([]byte("x"), 257), noEnd[257:]...), Options{}, ErrCorrupt, "archive"},
		{"tar with a tape's label", labelled(t), Options{}, ErrUnsupported, "type 'V'"},
		{"tar that leads out", archive(t, "ok", "../etc/passwd"), Options{}, ErrCorrupt, "leads out"},
		{"qcow2 backing file", header(put64(8, 4096)), Options{}, ErrUnsupported, "backing file"},
		{"qcow2 backing length", header(put32(16, 5)), Options{}, ErrUnsupported, "backing file"},
		{"qcow2 encrypted", header(put32(32, 2)), Options{}, ErrUnsupported, "encrypted"},
		{"qcow2 data file", header(put64(72, 4)), Options{}, ErrUnsupported, "external data file"},
		{"qcow2 unknown feature", header(put64(72, 1<<40)), Options{}, ErrUnsupported, "unknown incompatible"},
		{"qcow2 extended L2", qcow2(t, raw, "-o", "extended_l2=on"), Options{}, ErrUnsupported, "extended L2"},
		{"qcow2 marked corrupt", header(put64(72, 2)), Options{}, ErrCorrupt, "marked"},
		{"qcow2 version", header(put32(4, 9)), Options{}, ErrUnsupported, "version 9"},
		{"qcow2 clusters", header(put32(20, 40)), Options{}, ErrCorrupt, "2^40"},
		{"qcow2 huge", header(put64(24, 1<<62)), Options{}, ErrCorrupt, "bytes"},
		{"qcow2 small L1", header(put64(24, 1<<40)), Options{}, ErrCorrupt, "first-level"},
		{"qcow2 L1 outside", header(put64(40, 1<<40)), Options{}, ErrTruncated, "first-level"},
		{"qcow2 cut off", qcow2(t, raw)[:300<<10], Options{}, ErrTruncated, "of a file of"},
		{"too large", qcow2(t, raw), Options{MaxSize: 1 << 20}, format.ErrTooLarge, "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := read(t, tt.src, tt.o)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.says)
			}
		})
	}
}

// TestRawWithoutTable imports what has no partition table if it is said to be raw.
func TestRawWithoutTable(t *testing.T) {
	want := bytes.Repeat([]byte("x"), 10000)
	got, _, err := read(t, want, Options{Format: "raw"})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzQcow2(f *testing.F) {
	small := disk(256 << 10)
	for _, args := range [][]string{nil, {"-c"}, {"-c", "-o", "compression_type=zstd"}, {"-o", "cluster_size=512"}} {
		f.Add(qcow2(f, small, args...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := OpenQcow2(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		p := make([]byte, 64<<10)
		for at := int64(0); at < min(q.Size(), 4<<20); at += int64(len(p)) {
			if _, err := q.ReadAt(p, at); err != nil {
				return
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	raw := disk(128 << 10)
	for _, c := range []string{"none", "gz", "zst", "xz"} {
		f.Add(compress(f, c, raw))
		f.Add(compress(f, c, archive(f, "a", "etc/b")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := Open(t.Context(), bytes.NewReader(b), Options{MaxSize: 1 << 20, TempDir: t.TempDir()})
		if err != nil {
			return
		}
		defer img.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(img, 8<<20)); err == nil {
			_ = img.Finish()
		}
	})
}
