package importer

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/gantry-pod/gantry/images/format"
)

// diskCheck counts a raw disk's bytes and compares them with what its partition
// table says: a download that was cut off has fewer.
type diskCheck struct {
	head []byte
	size int64
}

func (d *diskCheck) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	return len(p), nil
}

func (d *diskCheck) finish() error {
	if need := diskEnd(d.head); d.size < need {
		return fmt.Errorf("%w: a disk of %d bytes whose partition table reaches to %d", ErrTruncated, d.size, need)
	}
	return nil
}

// diskEnd is how many bytes a disk has at least by its GPT (UEFI 2.10, 5.3.2),
// in sectors of 512 or 4096 bytes, or by its MBR.
func diskEnd(head []byte) int64 {
	le := binary.LittleEndian
	for _, sector := range []int{512, 4096} {
		if len(head) < sector+92 || string(head[sector:sector+8]) != "EFI PART" {
			continue
		}
		last := max(le.Uint64(head[sector+32:]), le.Uint64(head[sector+48:]))
		if last < mostSectors {
			return (int64(last) + 1) * int64(sector)
		}
	}
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		return 0
	}
	var end int64
	for e := 446; e < 510; e += 16 {
		if kind := head[e+4]; kind != 0 && kind != 0xee {
			end = max(end, (int64(le.Uint32(head[e+8:]))+int64(le.Uint32(head[e+12:])))*512)
		}
	}
	return end
}

// mostSectors bounds a sector number so that its byte does not overflow.
const mostSectors = 1 << 48

// tarCheck reads a tar archive as it passes by and refuses one that is damaged,
// cut off, or has names that lead out of it.
type tarCheck struct {
	*io.PipeWriter
	result chan error
}

func newTarCheck() *tarCheck {
	r, w := io.Pipe()
	t := &tarCheck{w, make(chan error, 1)}
	go func() {
		err := checkTar(r)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // padding behind the end marker
		}
		r.CloseWithError(err)
		t.result <- err
	}()
	return t
}

func (t *tarCheck) finish() error {
	t.PipeWriter.Close()
	return <-t.result
}

func (t *tarCheck) stop() error { return t.PipeWriter.CloseWithError(io.ErrClosedPipe) }

func checkTar(r io.Reader) error {
	tail := &tailReader{r: r}
	t := tar.NewReader(tail)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return fmt.Errorf("%w: an archive without files", ErrUnsupported)
		case errors.Is(err, io.EOF) && !tail.zeros():
			return fmt.Errorf("%w: the archive has no end marker after its %d files", ErrTruncated, n)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: the archive ends within file %d", ErrTruncated, n)
		case err != nil:
			return fmt.Errorf("%w: archive: %s", ErrCorrupt, err)
		}
		if !format.TarType(h.Typeflag) {
			return fmt.Errorf("%w: the archive has %q, an entry of type %q, which cannot be unpacked to a disk", ErrUnsupported, h.Name, h.Typeflag)
		}
		if !inside(h.Name) || h.Typeflag == tar.TypeLink && !inside(h.Linkname) {
			return fmt.Errorf("%w: the archive has %q, which leads out of it", ErrCorrupt, h.Name)
		}
	}
}

// inside reports whether a name stays below the root that it is unpacked to.
func inside(name string) bool {
	return path.IsAbs(name) || !strings.HasPrefix(path.Clean(name), "..")
}

// tailReader remembers whether what was read last is the end marker: a tar ends
// with two blocks of zeros (POSIX.1-2017, pax, ustar interchange format).
type tailReader struct {
	r    io.Reader
	last [512]byte
	n    int
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n >= len(t.last) {
		copy(t.last[:], p[n-len(t.last):n])
	} else {
		copy(t.last[:], t.last[n:])
		copy(t.last[len(t.last)-n:], p[:n])
	}
	t.n += n
	return n, err
}

func (t *tailReader) zeros() bool { return t.n >= 1024 && t.last == [512]byte{} }
