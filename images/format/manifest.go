package format

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// Version is the format's version. A reader refuses any other.
const Version = 1

// Bounds of the format. They keep what a hostile manifest can ask of a machine
// with little memory small.
const (
	// MaxManifest is the largest manifest in bytes: 349,000 chunks.
	MaxManifest = 16 << 20
	// MaxChunk is the largest chunk in bytes before compression.
	MaxChunk = 4 << 20
	// MaxSize is the largest image in bytes.
	MaxSize = 64 << 40
	// Align is what every chunk's offset is a multiple of, and every chunk's
	// length but the last's: the largest block size of disks, so that chunks can
	// be written past the page cache.
	Align = 4096
	// maxHeader is the largest header in bytes.
	maxHeader = 64 << 10
)

// Chunk is one piece of an image that is not all zeros.
type Chunk struct {
	// Offset is where its bytes go, from the image's beginning.
	Offset int64
	// Length is how many bytes it is.
	Length int
	// At is where its stored form begins in the data file.
	At int64
	// Stored is how many bytes its stored form is. A chunk whose Stored equals
	// Length is stored as it is; any other is zstd (RFC 8878).
	Stored int
	// Digest is of the stored form, so that it is checked before anything is
	// decompressed, and over a third of the bytes.
	Digest Digest
}

// End is the offset behind the chunk's last byte.
func (c *Chunk) End() int64 { return c.Offset + int64(c.Length) }

// Content is what [Pack] found in an image, and what a manifest describes.
type Content struct {
	// Size of the image in bytes, with its zeros.
	Size int64
	// Chunks in order of their offsets; between them are zeros.
	Chunks []Chunk
	// Whole is the digest of all of it: see [Whole].
	Whole Digest
}

// DataSize is the size of the data file in bytes.
func (c *Content) DataSize() int64 {
	if len(c.Chunks) == 0 {
		return 0
	}
	last := &c.Chunks[len(c.Chunks)-1]
	return last.At + int64(last.Stored)
}

// Payload is how many bytes of the image are in chunks: what must be written.
func (c *Content) Payload() int64 {
	var n int64
	for i := range c.Chunks {
		n += int64(c.Chunks[i].Length)
	}
	return n
}

// Manifest describes one image.
type Manifest struct {
	Kind Kind
	Meta Meta
	Content
	// Key is the public key whose signature Parse checked.
	Key ed25519.PublicKey
}

// check says how a manifest contradicts itself or the format's bounds, if it does.
func (m *Manifest) check() error {
	if m.Kind != Disk && m.Kind != RootFS {
		return fmt.Errorf("%w: unknown kind %q", ErrMalformed, m.Kind)
	}
	if err := m.Meta.Validate(m.Kind); err != nil {
		return err
	}
	if m.Size <= 0 || m.Size > MaxSize {
		return fmt.Errorf("%w: a size of %d bytes", ErrMalformed, m.Size)
	}
	var end, at int64
	for i := range m.Chunks {
		c := &m.Chunks[i]
		if err := checkChunk(c, end, m.Size); err != nil {
			return fmt.Errorf("%w: chunk %d at %d: %s", ErrMalformed, i, c.Offset, err)
		}
		if c.At != at {
			return fmt.Errorf("%w: chunk %d is at %d of the data, not at %d", ErrMalformed, i, c.At, at)
		}
		end, at = c.End(), at+int64(c.Stored)
	}
	if w := Whole(m.Size, m.Chunks); w != m.Whole {
		return fmt.Errorf("%w: the chunks make %s, the header says %s", ErrMalformed, w, m.Whole)
	}
	return nil
}

// checkChunk checks one chunk, given where the one before it ended.
func checkChunk(c *Chunk, end, size int64) error {
	switch {
	case c.Length <= 0 || c.Length > MaxChunk:
		return fmt.Errorf("a length of %d bytes", c.Length)
	case c.Offset < end:
		return fmt.Errorf("overlaps the chunk before, which ends at %d", end)
	case c.Offset > size-int64(c.Length):
		return fmt.Errorf("reaches beyond the image's %d bytes", size)
	case c.Offset%Align != 0:
		return fmt.Errorf("not aligned to %d bytes", Align)
	case c.Length%Align != 0 && c.End() != size:
		return fmt.Errorf("a length of %d bytes, not aligned to %d", c.Length, Align)
	case c.Stored <= 0 || c.Stored > c.Length:
		return fmt.Errorf("%d stored bytes for %d", c.Stored, c.Length)
	}
	return nil
}

// SignedBy reports with an error that wraps [ErrSignature] if none of keys,
// which are base64 (standard, padded), signed the manifest.
func (m *Manifest) SignedBy(keys []string) error {
	for _, k := range keys {
		if raw, err := base64.StdEncoding.DecodeString(k); err == nil && m.Key.Equal(ed25519.PublicKey(raw)) {
			return nil
		}
	}
	return fmt.Errorf("%w: signed by %s, which is none of the %d trusted keys", ErrSignature, EncodeKey(m.Key), len(keys))
}

// EncodeKey is the form of a public key that SignedBy accepts.
func EncodeKey(k ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(k) }
