package format

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// Sizes that images/DESIGN.md chose by measurement.
const (
	// DefaultChunk is the size of the pieces that an image is cut into.
	DefaultChunk = 4 << 20
	// DefaultGap is the shortest run of zeros that is left out of a chunk.
	DefaultGap = 64 << 10
)

// PackOptions refines [Pack]. The zero value is right for all but measurements.
type PackOptions struct {
	// Chunk is the largest chunk in bytes, a multiple of Align up to MaxChunk; 0
	// is DefaultChunk.
	Chunk int
	// Gap is the shortest run of zeros to leave out, in bytes; 0 is DefaultGap.
	Gap int
	// Level of compression; 0 is zstd.SpeedBetterCompression.
	Level zstd.EncoderLevel
	// Workers compress at the same time; 0 is one for each processor.
	Workers int
	// MaxSize stops a source that has more bytes; 0 is the format's MaxSize.
	MaxSize int64
	// Progress, if set, is called with the bytes read so far, from one goroutine
	// at a time, after each chunk.
	Progress func(done int64)
}

// ErrTooLarge: a source has more bytes than it may.
var ErrTooLarge = errors.New("image too large")

// Pack reads an image to its end, writes its chunks to data, and returns what
// goes into its manifest. The same bytes and options give the same result. It
// holds about three chunks per worker. On an error what it wrote is useless.
func Pack(ctx context.Context, src io.Reader, data io.Writer, o PackOptions) (*Content, error) {
	o.fill()
	if o.Chunk%Align != 0 || o.Chunk > MaxChunk {
		return nil, fmt.Errorf("pack image: chunks of %d bytes: not a multiple of %d up to %d", o.Chunk, Align, MaxChunk)
	}
	g, ctx := errgroup.WithContext(ctx)
	p := &packer{PackOptions: o, src: src, data: data, todo: make(chan *cell), order: make(chan *cell, o.Workers+1)}
	p.cells.New = func() any { return &cell{raw: make([]byte, o.Chunk), done: make(chan struct{}, 1)} }
	g.Go(func() error { return p.read(ctx) })
	for range o.Workers {
		g.Go(func() error { return p.compress(ctx) })
	}
	g.Go(func() error { return p.write(ctx) })
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("pack image: %w", err)
	}
	p.found.Whole = Whole(p.found.Size, p.found.Chunks)
	return &p.found, nil
}

func (o *PackOptions) fill() {
	if o.Chunk == 0 {
		o.Chunk = DefaultChunk
	}
	if o.Gap == 0 {
		o.Gap = DefaultGap
	}
	if o.Level == 0 {
		o.Level = zstd.SpeedBetterCompression
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MaxSize == 0 {
		o.MaxSize = MaxSize
	}
}

// packer carries cells from the reader to workers to the writer.
type packer struct {
	PackOptions
	src   io.Reader
	data  io.Writer
	todo  chan *cell // to the workers
	order chan *cell // to the writer, as they were read
	cells sync.Pool
	found Content // the writer's
}

// cell is one aligned piece of the image, as large as a chunk may be.
type cell struct {
	offset int64
	raw    []byte // what was read; its capacity is the chunk size
	chunks []Chunk
	stored []byte        // the chunks' stored forms, one after another
	done   chan struct{} // one token when chunks and stored are set
}

func (p *packer) read(ctx context.Context) error {
	defer close(p.todo)
	defer close(p.order)
	for offset := int64(0); ; {
		c := p.cells.Get().(*cell)
		n, err := io.ReadFull(p.src, c.raw[:cap(c.raw)])
		c.offset, c.raw = offset, c.raw[:n]
		offset += int64(n)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return fmt.Errorf("read at %d: %w", offset, err)
		}
		if offset > p.MaxSize {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, p.MaxSize)
		}
		if n > 0 {
			if err := send(ctx, p.order, c); err != nil {
				return err
			}
			if err := send(ctx, p.todo, c); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

func send(ctx context.Context, to chan<- *cell, c *cell) error {
	select {
	case to <- c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *packer) compress(ctx context.Context) error {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(p.Level), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(MaxChunk))
	if err != nil {
		return fmt.Errorf("make zstd encoder: %w", err)
	}
	defer z.Close()
	for c := range p.todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.chunks, c.stored = c.chunks[:0], c.stored[:0]
		for _, e := range extents(c.raw, p.Gap) {
			c.add(z, e)
		}
		c.done <- struct{}{}
	}
	return nil
}

// add makes a chunk of one extent of the cell.
func (c *cell) add(z *zstd.Encoder, e extent) {
	raw, before := c.raw[e.from:e.to], len(c.stored)
	c.stored = z.EncodeAll(raw, c.stored)
	if len(c.stored)-before >= len(raw) {
		c.stored = append(c.stored[:before], raw...)
	}
	c.chunks = append(c.chunks, Chunk{
		Offset: c.offset + int64(e.from),
		Length: len(raw),
		Stored: len(c.stored) - before,
		Digest: Sum(c.stored[before:]),
	})
}

func (p *packer) write(ctx context.Context) error {
	var at int64
	for c := range p.order {
		select {
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := p.data.Write(c.stored); err != nil {
			return fmt.Errorf("write the chunks at %d: %w", c.offset, err)
		}
		for _, k := range c.chunks {
			k.At = at
			at += int64(k.Stored)
			p.found.Chunks = append(p.found.Chunks, k)
		}
		p.found.Size = c.offset + int64(len(c.raw))
		if p.Progress != nil {
			p.Progress(p.found.Size)
		}
		p.cells.Put(c)
	}
	return nil
}
