package format

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Digest is a BLAKE3 digest of 256 bits.
type Digest [32]byte

// Sum is the digest of b.
func Sum(b []byte) Digest { return blake3.Sum256(b) }

// String is the digest in lower case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts 64 lower case hex digits and nothing else.
func (d *Digest) UnmarshalText(b []byte) error {
	v, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDigest reads what [Digest.String] writes.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(d) || hex.EncodeToString(raw) != s {
		return d, fmt.Errorf("%w: %q is not a digest of 64 lower case hex digits", ErrMalformed, s)
	}
	return Digest(raw), nil
}

// wholeContext separates the digest of a whole image from every other use of
// BLAKE3 (its derive-key mode, section 2.3 of the BLAKE3 paper).
const wholeContext = "gantry 2026 image format v1 whole image"

// Whole is the digest of an entire image: of its size and of every chunk's
// place, length and digest in order. Two images have the same one only if they
// have the same content and cut it alike. Whoever has computed each chunk's
// digest from the bytes that it wrote can compute it without reading them again
// in order.
func Whole(size int64, chunks []Chunk) Digest {
	h := blake3.NewDeriveKey(wholeContext)
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(size))
	h.Write(b[:8])
	for i := range chunks {
		binary.LittleEndian.PutUint64(b[:8], uint64(chunks[i].Offset))
		binary.LittleEndian.PutUint32(b[8:], uint32(chunks[i].Length))
		h.Write(b[:])
		h.Write(chunks[i].Digest[:])
	}
	return Digest(h.Sum(nil))
}
