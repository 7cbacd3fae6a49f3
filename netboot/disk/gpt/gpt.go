// Package gpt reads and writes GUID partition tables (UEFI 2.10, chapter 5). It
// keeps what it does not understand: the boot code of the protective MBR, and
// entries' attributes.
package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// ErrNoTable is for a disk without a GUID partition table whose checksums are
// right, neither at its beginning nor at its end.
var ErrNoTable = errors.New("no valid GUID partition table")

// GUID is in the mixed-endian order of the disk.
type GUID [16]byte

// Partition is one used entry.
type Partition struct {
	Type, ID GUID
	// First and Last are sectors, both of the partition.
	First, Last uint64
	Attributes  uint64
	// Name is at most 36 UTF-16 units.
	Name string
}

// Sectors is the partition's length.
func (p Partition) Sectors() uint64 { return p.Last - p.First + 1 }

// Table is a partition table. Number n of a partition is index n-1; unused
// entries have the zero Type.
type Table struct {
	ID GUID
	// Sector is the logical sector's size in bytes.
	Sector int
	// First and Last are the first and last sector that partitions may use.
	First, Last uint64
	// Partitions are all entries, used or not.
	Partitions []Partition
	// boot is the protective MBR's boot code, kept as it was.
	boot [bootCode]byte
	// at and entries are where the table says it is, its header's and its
	// entries' first sector.
	at, entries uint64
}

const (
	signature  = "EFI PART"
	revision   = 0x00010000
	headerSize = 92
	entrySize  = 128
	maxEntries = 1024
	bootCode   = 440 // and the disk signature behind it, which is rewritten as 0
	nameUnits  = 36
)

// Read reads the table of a disk of size bytes with sectors of sector bytes. A
// damaged first table is replaced by the copy at the end, if that is whole.
func Read(r io.ReaderAt, size int64, sector int) (*Table, error) {
	if sector < 512 {
		return nil, fmt.Errorf("%w: sectors of %d bytes", ErrNoTable, sector)
	}
	t, err := readAt(r, 1, size, sector)
	if err != nil {
		var second error
		if t, second = readAt(r, uint64(size/int64(sector))-1, size, sector); second != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoTable, err)
		}
	}
	if _, err := r.ReadAt(t.boot[:], 0); err != nil {
		return nil, fmt.Errorf("read the boot sector: %w", err)
	}
	return t, nil
}

func readAt(r io.ReaderAt, lba uint64, size int64, sector int) (*Table, error) {
	if size < int64(sector)*6 {
		return nil, fmt.Errorf("a disk of %d bytes with sectors of %d holds no table", size, sector)
	}
	h := make([]byte, sector)
	if _, err := r.ReadAt(h, int64(lba)*int64(sector)); err != nil {
		return nil, fmt.Errorf("read sector %d: %w", lba, err)
	}
	t, n, sum, err := parseHeader(h, lba)
	if err != nil {
		return nil, err
	}
	t.Sector = sector
	total := uint64(size / int64(sector))
	if t.entries >= total || t.First > t.Last {
		return nil, fmt.Errorf("header in sector %d: entries in sector %d of %d, usable %d to %d", lba, t.entries, total, t.First, t.Last)
	}
	b := make([]byte, n*entrySize)
	if _, err := r.ReadAt(b, int64(t.entries)*int64(sector)); err != nil {
		return nil, fmt.Errorf("read the entries: %w", err)
	}
	if crc32.ChecksumIEEE(b) != sum {
		return nil, errors.New("the entries' checksum is wrong")
	}
	for i := range n {
		t.Partitions = append(t.Partitions, parseEntry(b[i*entrySize:]))
	}
	return t, t.check()
}

// check refuses entries that end before they begin or leave the usable range.
func (t *Table) check() error {
	for i, p := range t.Partitions {
		if p.Type != (GUID{}) && (p.First > p.Last || p.First < t.First || p.Last > t.Last) {
			return fmt.Errorf("partition %d has sectors %d to %d, usable are %d to %d", i+1, p.First, p.Last, t.First, t.Last)
		}
	}
	return nil
}

func parseHeader(h []byte, lba uint64) (*Table, int, uint32, error) {
	le := binary.LittleEndian
	fail := func(why string) (*Table, int, uint32, error) {
		return nil, 0, 0, fmt.Errorf("sector %d: %s", lba, why)
	}
	if string(h[:8]) != signature {
		return fail("no signature")
	}
	n := le.Uint32(h[12:])
	if n < headerSize || int(n) > len(h) {
		return fail("absurd header size")
	}
	c := bytes.Clone(h[:n])
	le.PutUint32(c[16:], 0)
	if crc32.ChecksumIEEE(c) != le.Uint32(h[16:]) {
		return fail("the header's checksum is wrong")
	}
	if le.Uint64(h[24:]) != lba {
		return fail("the header is for another sector")
	}
	entries := le.Uint32(h[80:])
	if le.Uint32(h[84:]) != entrySize || entries == 0 || entries > maxEntries {
		return fail("entries of another size or number than anyone makes")
	}
	t := &Table{at: lba, First: le.Uint64(h[40:]), Last: le.Uint64(h[48:]), entries: le.Uint64(h[72:])}
	copy(t.ID[:], h[56:72])
	return t, int(entries), le.Uint32(h[88:]), nil
}

func parseEntry(b []byte) Partition {
	le := binary.LittleEndian
	p := Partition{First: le.Uint64(b[32:]), Last: le.Uint64(b[40:]), Attributes: le.Uint64(b[48:])}
	copy(p.Type[:], b[:16])
	copy(p.ID[:], b[16:32])
	var u []uint16
	for i := range nameUnits {
		c := le.Uint16(b[56+2*i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	p.Name = string(utf16.Decode(u))
	return p
}
