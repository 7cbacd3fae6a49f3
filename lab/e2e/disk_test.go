//go:build qemu

package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// block is the unit in which disks are compared: a page of the file systems.
const block = 4096

// image is what a disk is compared with.
type image struct{ raw []byte }

func readMini(t *testing.T) image {
	t.Helper()
	b, err := os.ReadFile(built(t, "images/mini.raw"))
	if err != nil {
		t.Fatal(err)
	}
	return image{b}
}

// blocks are the image's blocks that hold something, by their content.
func (i image) blocks() map[string]bool {
	all := map[string]bool{}
	for at := 0; at+block <= len(i.raw); at += block {
		if b := i.raw[at : at+block]; notable(b) {
			all[string(b)] = true
		}
	}
	return all
}

// notable says whether a block is one that would not come about by chance.
func notable(b []byte) bool { return bytes.Count(b, []byte{b[0]}) < len(b)/2 }

// equal is the share of the image's notable blocks that are where they belong
// on a disk. Growing and configuring a file system changes some.
func (i image) equal(t *testing.T, disk string) float64 {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, total, same := make([]byte, block), 0, 0
	for at := 0; at+block <= len(i.raw); at += block {
		want := i.raw[at : at+block]
		if !notable(want) {
			continue
		}
		total++
		if _, err := f.ReadAt(got, int64(at)); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(got, want) {
			same++
		}
	}
	return float64(same) / float64(total)
}

// scan calls see with every block of a disk that is not a hole.
func scan(t *testing.T, disk string, see func(at int64, b []byte)) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, block)
	for at := int64(0); ; {
		at, err = f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return // nothing but a hole is left
		}
		if err != nil {
			t.Fatal(err)
		}
		at -= at % block
		n, err := f.ReadAt(b, at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		see(at, b[:n])
		at += block
	}
}

// holds counts the blocks of a disk that are not zero, and those that are of the
// image or have the marker in them.
func (i image) holds(t *testing.T, disk, marker string) (nonzero, old int) {
	t.Helper()
	of := i.blocks()
	zero := make([]byte, block)
	scan(t, disk, func(_ int64, b []byte) {
		if bytes.Equal(b, zero[:len(b)]) {
			return
		}
		nonzero++
		if of[string(b)] || marker != "" && bytes.Contains(b, []byte(marker)) {
			old++
		}
	})
	return nonzero, old
}
