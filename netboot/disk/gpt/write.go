package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// defaultEntries is what everyone makes, and the least that UEFI allows.
const defaultEntries = 128

// New makes an empty table for a disk of size bytes with sectors of sector
// bytes. Partitions may use it from the first to the last whole MiB.
func New(id GUID, size int64, sector int) (*Table, error) {
	t := &Table{ID: id, Sector: sector, entries: 2, Partitions: make([]Partition, defaultEntries)}
	if err := t.fit(size); err != nil {
		return nil, err
	}
	t.First = 2 + t.entrySectors()
	return t, nil
}

func (t *Table) entrySectors() uint64 {
	n := uint64(len(t.Partitions) * entrySize)
	return (n + uint64(t.Sector) - 1) / uint64(t.Sector)
}

// fit moves the table's end to the end of a disk of size bytes.
func (t *Table) fit(size int64) error {
	total := uint64(size) / uint64(t.Sector)
	need := 2*(2+t.entrySectors()) + 1
	if size < 0 || total < need {
		return fmt.Errorf("a disk of %d bytes is too small for a partition table", size)
	}
	t.Last = total - t.entrySectors() - 2
	return nil
}

// Grow makes the table one of a disk of size bytes, and gives the room that
// this adds to the last partition, down to a multiple of 1 MiB. It returns that
// partition's number, or 0 if nothing grew. The table is not written.
func (t *Table) Grow(size int64) (number int, err error) {
	if err := t.fit(size); err != nil {
		return 0, err
	}
	if err := t.check(); err != nil {
		return 0, fmt.Errorf("the disk is smaller than its partitions: %w", err)
	}
	last := -1
	for i, p := range t.Partitions {
		if p.Type != (GUID{}) && (last < 0 || p.First > t.Partitions[last].First) {
			last = i
		}
	}
	if last < 0 {
		return 0, nil
	}
	p := &t.Partitions[last]
	mib := uint64(1<<20) / uint64(t.Sector)
	end := (t.Last + 1) / mib * mib
	if end <= p.Last+1 {
		return 0, nil
	}
	p.Last = end - 1
	return last + 1, nil
}

// Write writes both tables and the protective MBR to a disk of size bytes: the
// entries before the header that points at them, the end's before the
// beginning's, so that one whole table is there at any moment.
func (t *Table) Write(w io.WriterAt, size int64) error {
	if err := t.check(); err != nil {
		return err
	}
	total := uint64(size) / uint64(t.Sector)
	entries, err := t.encodeEntries()
	if err != nil {
		return err
	}
	sum := crc32.ChecksumIEEE(entries[:len(t.Partitions)*entrySize])
	second := total - 1 - t.entrySectors()
	first := uint64(2)
	if t.at == 1 {
		first = t.entries // where a boot loader may count on it
	}
	for _, p := range []struct {
		sector uint64
		b      []byte
	}{
		{second, entries},
		{total - 1, t.header(total-1, 1, second, sum)},
		{first, entries},
		{1, t.header(1, total-1, first, sum)},
		{0, t.mbr(total)},
	} {
		if _, err := w.WriteAt(p.b, int64(p.sector)*int64(t.Sector)); err != nil {
			return fmt.Errorf("write the partition table, sector %d: %w", p.sector, err)
		}
	}
	return nil
}

func (t *Table) header(at, other, entries uint64, sum uint32) []byte {
	le := binary.LittleEndian
	h := make([]byte, t.Sector)
	copy(h, signature)
	le.PutUint32(h[8:], revision)
	le.PutUint32(h[12:], headerSize)
	le.PutUint64(h[24:], at)
	le.PutUint64(h[32:], other)
	le.PutUint64(h[40:], t.First)
	le.PutUint64(h[48:], t.Last)
	copy(h[56:], t.ID[:])
	le.PutUint64(h[72:], entries)
	le.PutUint32(h[80:], uint32(len(t.Partitions)))
	le.PutUint32(h[84:], entrySize)
	le.PutUint32(h[88:], sum)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
	return h
}

func (t *Table) encodeEntries() ([]byte, error) {
	le := binary.LittleEndian
	b := make([]byte, t.entrySectors()*uint64(t.Sector))
	for i, p := range t.Partitions {
		e := b[i*entrySize:]
		if p.Type == (GUID{}) {
			continue
		}
		copy(e, p.Type[:])
		copy(e[16:], p.ID[:])
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		le.PutUint64(e[48:], p.Attributes)
		u := utf16.Encode([]rune(p.Name))
		if len(u) > nameUnits {
			return nil, fmt.Errorf("partition name %q is longer than %d UTF-16 units", p.Name, nameUnits)
		}
		for j, c := range u {
			le.PutUint16(e[56+2*j:], c)
		}
	}
	return b, nil
}

// mbr is the protective MBR (UEFI 2.10, table 5.3) with the boot code it had.
func (t *Table) mbr(total uint64) []byte {
	b := make([]byte, t.Sector)
	copy(b, t.boot[:])
	e := b[446:]
	copy(e[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(total-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
