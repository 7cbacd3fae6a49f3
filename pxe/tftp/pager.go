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
	file   File
	ascii  io.Reader  // file translated, or nil
	pool   *sync.Pool // of *pageBuf
	size   int64      // what there is to send; negative: until io.EOF
	block  int        // bytes of data in a packet
	next   uint64
	offset int64
}

func newPager(f File, block int, ascii bool, pool *sync.Pool) *pager {
	p := &pager{file: f, pool: pool, size: f.Size(), block: block, next: 1}
	if ascii {
		p.ascii, p.size = newNetascii(io.NewSectionReader(f, 0, f.Size())), -1
	}
	return p
}

// fill reads the next page. It blocks as long as the file does.
func (p *pager) fill() (*page, error) {
	pg, n := p.newPage()
	src := p.ascii
	if src == nil {
		src = io.NewSectionReader(p.file, p.offset, p.size-p.offset)
	}
	got, err := io.ReadFull(src, p.space(pg, n))
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
	p.cut(pg, n, got)
	return pg, nil
}

// fillNow is fill if that needs no waiting; else it returns nil.
func (p *pager) fillNow() *page {
	file, ok := p.file.(Prompt)
	if !ok || p.ascii != nil {
		return nil
	}
	pg, n := p.newPage()
	space := p.space(pg, n)
	want := int(min(int64(len(space)), p.size-p.offset))
	if want > 0 && file.ReadAtNow(space[:want], p.offset) < want {
		p.free(pg)
		return nil
	}
	p.offset += int64(want)
	p.cut(pg, n, want)
	return pg
}

// newPage returns an empty page, and how many packets it is to have at most.
func (p *pager) newPage() (*page, int) {
	n := pageBytes / (p.block + headerLen)
	if p.size >= 0 { // the last block is the first that is not full, if need be empty
		n = int(min(int64(n), (p.size-p.offset)/int64(p.block)+1))
	}
	return &page{first: p.next, buf: p.pool.Get().(*pageBuf)}, n
}

// space is where in pg the data of n packets is read to: the end of their space,
// from where cut moves each block forward to behind its header. A block's place
// never reaches into the next's source.
func (p *pager) space(pg *page, n int) []byte {
	return pg.buf[n*headerLen : n*(p.block+headerLen)]
}

// cut makes the got bytes in the space for n packets into packets.
func (p *pager) cut(pg *page, n, got int) {
	data, stride := p.space(pg, n), p.block+headerLen
	if got < len(data) {
		pg.final = true
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
