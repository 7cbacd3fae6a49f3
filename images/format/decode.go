package format

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Decoder turns stored chunks back into their bytes. It is for one goroutine at
// a time and holds about 1 MiB.
type Decoder struct{ zstd *zstd.Decoder }

// NewDecoder makes a Decoder; Close gives its memory back.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(MaxChunk), zstd.WithDecoderMaxWindow(MaxChunk))
	if err != nil {
		return nil, fmt.Errorf("make zstd decoder: %w", err)
	}
	return &Decoder{z}, nil
}

// Close frees the decoder.
func (d *Decoder) Close() { d.zstd.Close() }

// DecodeSlack is how much room behind a chunk makes decoding faster: its last
// block is then written in whole words, like the others.
const DecodeSlack = 16

// Decode writes the bytes of c, whose stored form is stored, to dst, which must
// hold c.Length bytes, and returns them. The stored form is compared with its
// digest before anything else is done with it: hostile bytes never reach the
// decompressor. However stored was made, of a longer dst nothing is written
// beyond c.Length but the DecodeSlack bytes that follow.
// An error wraps [ErrDigest]; dst is then undefined.
func (d *Decoder) Decode(dst, stored []byte, c *Chunk) ([]byte, error) {
	room := dst[:0:min(len(dst), c.Length+DecodeSlack)]
	dst = dst[:c.Length]
	if len(stored) != c.Stored {
		return nil, fmt.Errorf("%w: %d stored bytes of the chunk at %d, not %d", ErrDigest, len(stored), c.Offset, c.Stored)
	}
	if got := Sum(stored); got != c.Digest {
		return nil, fmt.Errorf("%w: the chunk at %d is %s, not %s", ErrDigest, c.Offset, got, c.Digest)
	}
	if c.Stored == c.Length {
		copy(dst, stored)
		return dst, nil
	}
	// The frame's own checksum, of its content, is checked too: it was made from
	// the bytes that were packed, so a fault of memory or decompressor shows.
	out, err := d.zstd.DecodeAll(stored, room)
	if err != nil {
		return nil, fmt.Errorf("%w: the chunk at %d does not decompress: %s", ErrDigest, c.Offset, err)
	}
	if len(out) != c.Length {
		return nil, fmt.Errorf("%w: the chunk at %d is %d bytes, not %d", ErrDigest, c.Offset, len(out), c.Length)
	}
	return dst, nil
}
