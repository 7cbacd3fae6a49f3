package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// pageBytes is the size of a page. A window never exceeds it, so any window
// lies in two pages.
const pageBytes = 128 << 10

// pageBuf is the memory of one page.
type pageBuf = [pageBytes]byte

// page is a run of finished DATA packets, each stride bytes apart, so that a
// window leaves with one system call and without a copy.
type page struct {
	first uint64 // block number of the first packet
	n     uint64 // packets
	bytes int    // length of all packets together
	final bool   // the last packet ends the transfer
	buf   *pageBuf
}

func (p *page) holds(block uint64) bool { return block >= p.first && block < p.first+p.n }

// pager cuts a file into pages, in order.
type pager struct {
	src    io.Reader
	pool   *sync.Pool // of *pageBuf
	size   int64      // what src must yield; negative: until io.EOF
	block  int        // bytes of data in a packet
	next   uint64
	offset int64
}

func newPager(f File, block int, ascii bool, pool *sync.Pool) *pager {
	src := io.NewSectionReader(f, 0, f.Size())
	if ascii {
		return &pager{src: newNetascii(src), pool: pool, size: -1, block: block, next: 1}
	}
	return &pager{src: src, pool: pool, size: f.Size(), block: block, next: 1}
}

// fill reads the next page. It blocks as long as the file does.
func (p *pager) fill() (*page, error) {
	stride := p.block + headerLen
	n := pageBytes / stride
	if p.size >= 0 { // the last block is the first that is not full, if need be empty
		n = int(min(int64(n), (p.size-p.offset)/int64(p.block)+1))
	}
	pg := &page{first: p.next, buf: p.pool.Get().(*pageBuf)}
	// Read everything to the end of the space, then move each block forward to
	// behind its header: a block's place never reaches into the next's source.
	data := pg.buf[n*headerLen : n*stride]
	got, err := io.ReadFull(p.src, data)
	p.offset += int64(got)
	short := err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !short {
		p.free(pg)
		return nil, fmt.Errorf("read at byte %d: %w", p.offset, err)
	}
	if p.size >= 0 && short && p.offset != p.size {
		p.free(pg)
		return nil, fmt.Errorf("file ended at byte %d of %d", p.offset, p.size)
	}
	pg.final = short
	if short {
		n = got/p.block + 1
	}
	for i := range n {
		at, from := i*stride, i*p.block
		head := pg.buf[at:]
		size := copy(head[headerLen:headerLen+p.block], data[from:min(from+p.block, got)])
		binary.BigEndian.PutUint16(head, opData)
		binary.BigEndian.PutUint16(head[2:], uint16(p.next))
		pg.bytes = at + headerLen + size
		p.next++
	}
	pg.n = uint64(n)
	return pg, nil
}

// free recycles a page's memory; pg is not used afterwards.
func (p *pager) free(pg *page) {
	p.pool.Put(pg.buf)
	pg.buf = nil
}

// run returns the packets of up to max blocks from block on, which p holds.
func (p *page) run(block uint64, max, stride int) ([]byte, int) {
	i := int(block - p.first)
	n := min(max, int(p.n)-i)
	return p.buf[i*stride : min((i+n)*stride, p.bytes)], n
}
