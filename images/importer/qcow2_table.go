package importer

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// l2Table is the second-level table that was used last: a disk is read in order.
type l2Table struct {
	at    uint64 // its place in the file; 0 is none
	bytes []byte
}

// clusterCache is the compressed cluster that was used last.
type clusterCache struct {
	entry  uint64 // 0 is none
	bytes  []byte
	stored []byte
	zstd   *zstd.Decoder
}

// entry finds the second-level entry of a cluster; 0 is a cluster of zeros.
func (q *Qcow2) entry(cluster int64) (uint64, error) {
	perTable := int64(1) << (q.clusterBits - 3)
	at := q.l1[cluster/perTable] & offsetMask
	if at == 0 {
		return 0, nil
	}
	if at != q.table.at {
		if at&(1<<q.clusterBits-1) != 0 {
			return 0, fmt.Errorf("%w: a second-level table at %d, which is no multiple of a cluster", ErrCorrupt, at)
		}
		if q.table.bytes == nil {
			q.table.bytes = make([]byte, 1<<q.clusterBits)
		}
		q.table.at = 0
		if err := q.readFile(q.table.bytes, int64(at)); err != nil {
			return 0, fmt.Errorf("second-level table: %w", err)
		}
		q.table.at = at
	}
	return binary.BigEndian.Uint64(q.table.bytes[cluster%perTable*8:]), nil
}

// compressed returns a compressed cluster's bytes. Its entry has the place in
// the low bits and the number of further 512-byte sectors above them.
func (q *Qcow2) compressed(entry uint64) ([]byte, error) {
	c := &q.cluster
	if c.entry == entry {
		return c.bytes, nil
	}
	split := 62 - (q.clusterBits - 8)
	at := int64(entry & (1<<split - 1))
	sectors := int64(entry&(compressedBit-1)>>split) + 1
	length := sectors*512 - at%512
	if at > q.file {
		return nil, fmt.Errorf("%w: a compressed cluster at %d of a file of %d bytes", ErrTruncated, at, q.file)
	}
	// The last sector of a file need not be whole.
	length = min(length, q.file-at)
	if c.bytes == nil {
		c.bytes = make([]byte, 1<<q.clusterBits)
	}
	c.entry = 0
	c.stored = append(c.stored[:0], make([]byte, length)...)
	if err := q.readFile(c.stored, at); err != nil {
		return nil, err
	}
	if err := q.inflate(c); err != nil {
		return nil, fmt.Errorf("%w: compressed cluster at %d: %s", ErrCorrupt, at, err)
	}
	c.entry = entry
	return c.bytes, nil
}

// inflate fills exactly one cluster; what follows in the last sector is not it.
func (q *Qcow2) inflate(c *clusterCache) error {
	if !q.zstd {
		_, err := io.ReadFull(flate.NewReader(bytes.NewReader(c.stored)), c.bytes)
		return err
	}
	if c.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return err
		}
		c.zstd = z
	}
	if err := c.zstd.Reset(bytes.NewReader(c.stored)); err != nil {
		return err
	}
	_, err := io.ReadFull(c.zstd, c.bytes)
	return err
}
