package importer

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/gantry-pod/gantry/images/format"
)

// Qcow2 reads a qcow2 disk, version 2 or 3, as QEMU's docs/interop/qcow2.txt
// specifies it. It is an io.ReaderAt of the virtual disk for one goroutine at a
// time. A disk with a backing file, with an external data file, encrypted, or
// with features that are not known here, is refused: the first two name files
// of the host, and whoever made the image would choose which.
type Qcow2 struct {
	f           io.ReaderAt
	file        int64 // bytes of the file
	size        int64 // bytes of the virtual disk
	clusterBits uint
	zstd        bool // clusters are compressed with zstd, not deflate
	l1          []uint64
	table       l2Table
	cluster     clusterCache
}

// Bounds that QEMU has as well (block/qcow2.h).
const (
	minClusterBits = 9
	maxClusterBits = 21
	maxL1Bytes     = 32 << 20
	offsetMask     = 0x00fffffffffffe00
	compressedBit  = 1 << 62
	zeroBit        = 1
)

// Incompatible features (byte 72 of the header).
const (
	featureDirty       = 1 << 0 // refcounts may be wrong; they are not read here
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
)

// OpenQcow2 reads the header and the first-level table of a file of size bytes.
func OpenQcow2(f io.ReaderAt, size int64) (*Qcow2, error) {
	h := make([]byte, 112)
	n, err := f.ReadAt(h, 0)
	if n < 72 {
		return nil, fmt.Errorf("%w: a qcow2 header of %d bytes: %w", ErrTruncated, n, err)
	}
	be := binary.BigEndian
	q := &Qcow2{f: f, file: size, size: int64(be.Uint64(h[24:])), clusterBits: uint(be.Uint32(h[20:]))}
	if err := q.features(h[:n]); err != nil {
		return nil, err
	}
	if q.clusterBits < minClusterBits || q.clusterBits > maxClusterBits {
		return nil, fmt.Errorf("%w: qcow2 clusters of 2^%d bytes", ErrCorrupt, q.clusterBits)
	}
	if q.size <= 0 || q.size > format.MaxSize {
		return nil, fmt.Errorf("%w: a qcow2 disk of %d bytes", ErrCorrupt, q.size)
	}
	return q, q.readL1(int64(be.Uint64(h[40:])), int64(be.Uint32(h[36:])))
}

// features refuses what cannot or must not be read.
func (q *Qcow2) features(h []byte) error {
	be := binary.BigEndian
	refuse := func(what string) error { return fmt.Errorf("%w: a qcow2 disk %s", ErrUnsupported, what) }
	version := be.Uint32(h[4:])
	switch {
	case string(h[:4]) != "QFI\xfb":
		return fmt.Errorf("%w: no qcow2 file", ErrCorrupt)
	case version != 2 && version != 3:
		return refuse(fmt.Sprintf("of version %d", version))
	case be.Uint64(h[8:]) != 0 || be.Uint32(h[16:]) != 0:
		return refuse("with a backing file: flatten it first (qemu-img convert)")
	case be.Uint32(h[32:]) != 0:
		return refuse("that is encrypted")
	case version == 2:
		return nil
	case len(h) < 104:
		return fmt.Errorf("%w: a qcow2 header of %d bytes", ErrTruncated, len(h))
	}
	bits := be.Uint64(h[72:])
	switch {
	case bits&featureCorrupt != 0:
		return fmt.Errorf("%w: a qcow2 disk that is marked so", ErrCorrupt)
	case bits&featureDataFile != 0:
		return refuse("with an external data file")
	case bits&featureExtendedL2 != 0:
		return refuse("with extended L2 entries: convert it first (qemu-img convert)")
	case bits&^(featureDirty|featureCompression) != 0:
		return refuse(fmt.Sprintf("with unknown incompatible features %#x", bits))
	}
	if bits&featureCompression == 0 {
		return nil
	}
	if be.Uint32(h[100:]) < 105 || len(h) < 105 || h[104] > 1 {
		return refuse("with an unknown compression")
	}
	q.zstd = h[104] == 1
	return nil
}

// readL1 reads the first-level table, whose size the disk's size must justify.
func (q *Qcow2) readL1(at, entries int64) error {
	perEntry := int64(1) << (q.clusterBits + q.clusterBits - 3)
	need := (q.size + perEntry - 1) / perEntry
	if entries < need || need*8 > maxL1Bytes {
		return fmt.Errorf("%w: a first-level table of %d entries for %d bytes", ErrCorrupt, entries, q.size)
	}
	b := make([]byte, need*8)
	if err := q.readFile(b, at); err != nil {
		return fmt.Errorf("first-level table: %w", err)
	}
	q.l1 = make([]uint64, need)
	for i := range q.l1 {
		q.l1[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return nil
}

// readFile fills b from the file.
func (q *Qcow2) readFile(b []byte, at int64) error {
	if at < 0 || at > q.file-int64(len(b)) {
		return fmt.Errorf("%w: it needs bytes %d to %d of a file of %d", ErrTruncated, at, at+int64(len(b)), q.file)
	}
	if _, err := q.f.ReadAt(b, at); err != nil && err != io.EOF {
		return fmt.Errorf("read qcow2 file: %w", err)
	}
	return nil
}

// Size is the virtual disk's size in bytes.
func (q *Qcow2) Size() int64 { return q.size }

// ReadAt implements io.ReaderAt.
func (q *Qcow2) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 || at >= q.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > q.size-at
	if short {
		p = p[:q.size-at]
	}
	for n < len(p) {
		within := (at + int64(n)) & (1<<q.clusterBits - 1)
		piece := p[n:min(len(p), n+1<<q.clusterBits-int(within))]
		if err := q.readPiece(piece, at+int64(n), within); err != nil {
			return n, fmt.Errorf("qcow2 disk at %d: %w", at+int64(n), err)
		}
		n += len(piece)
	}
	if short {
		err = io.EOF
	}
	return n, err
}

// readPiece reads within one cluster.
func (q *Qcow2) readPiece(p []byte, at, within int64) error {
	entry, err := q.entry(at >> q.clusterBits)
	switch {
	case err != nil:
		return err
	case entry&compressedBit != 0:
		b, err := q.compressed(entry)
		if err != nil {
			return err
		}
		copy(p, b[within:])
		return nil
	case entry&zeroBit != 0 || entry&offsetMask == 0:
		clear(p)
		return nil
	case int64(entry&offsetMask)&(1<<q.clusterBits-1) != 0:
		return fmt.Errorf("%w: a cluster at %d, which is no multiple of its size", ErrCorrupt, entry&offsetMask)
	}
	return q.readFile(p, int64(entry&offsetMask)+within)
}
