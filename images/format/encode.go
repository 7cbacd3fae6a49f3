package format

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The manifest's bytes; numbers are little endian:
//
//	 8  magic
//	 4  version
//	 4  H, the header's length
//	 4  N, the number of chunks
//	 4  zero
//	 H  header, JSON
//	48N chunks: offset 8, length 4, stored length 4, digest 32
//	32  ed25519 public key (RFC 8032)
//	64  its signature of signContext and all bytes before the signature
const (
	magic       = "gantryIM"
	prefixSize  = 24
	chunkSize   = 48
	trailerSize = ed25519.PublicKeySize + ed25519.SignatureSize
	signContext = "gantry image manifest\x00"
)

type header struct {
	Kind  Kind   `json:"kind"`
	Size  int64  `json:"size"`
	Whole Digest `json:"whole"`
	Meta  Meta   `json:"meta"`
}

// Sign encodes the manifest and signs it; Key is set to the signer's. The
// digest of the returned bytes, by [Sum], is the image's name for machines.
func (m *Manifest) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	h, err := json.Marshal(header{m.Kind, m.Size, m.Whole, m.Meta})
	if err != nil {
		return nil, fmt.Errorf("encode image header: %w", err)
	}
	total := prefixSize + len(h) + len(m.Chunks)*chunkSize + trailerSize
	if len(h) > maxHeader || total > MaxManifest {
		return nil, fmt.Errorf("%w: a manifest of %d bytes, the bound is %d", ErrMalformed, total, MaxManifest)
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, total), magic...)
	b = le.AppendUint32(b, Version)
	b = le.AppendUint32(b, uint32(len(h)))
	b = le.AppendUint32(b, uint32(len(m.Chunks)))
	b = le.AppendUint32(b, 0)
	b = append(b, h...)
	for i := range m.Chunks {
		c := &m.Chunks[i]
		b = le.AppendUint64(b, uint64(c.Offset))
		b = le.AppendUint32(b, uint32(c.Length))
		b = le.AppendUint32(b, uint32(c.Stored))
		b = append(b, c.Digest[:]...)
	}
	m.Key = key.Public().(ed25519.PublicKey)
	b = append(b, m.Key...)
	return append(b, ed25519.Sign(key, signed(b))...), nil
}

func signed(b []byte) []byte { return append([]byte(signContext), b...) }

// Parse reads a manifest of hostile origin. It checks its form, its bounds, that
// it does not contradict itself, and the signature by the key that it carries;
// it does not know which key is trusted. It allocates in proportion to len(b),
// which must not be larger than [MaxManifest].
func Parse(b []byte) (*Manifest, error) {
	headerSize, chunks, err := parsePrefix(b)
	if err != nil {
		return nil, err
	}
	body := b[prefixSize : len(b)-trailerSize]
	trailer := b[len(b)-trailerSize:]
	key := ed25519.PublicKey(bytes.Clone(trailer[:ed25519.PublicKeySize]))
	if !ed25519.Verify(key, signed(b[:len(b)-ed25519.SignatureSize]), trailer[ed25519.PublicKeySize:]) {
		return nil, fmt.Errorf("%w: it does not fit the manifest", ErrSignature)
	}
	h, err := parseHeader(body[:headerSize])
	if err != nil {
		return nil, err
	}
	m := &Manifest{Kind: h.Kind, Meta: h.Meta, Key: key}
	m.Size, m.Whole = h.Size, h.Whole
	m.Chunks = parseChunks(body[headerSize:], chunks)
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

func parsePrefix(b []byte) (headerSize, chunks int, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) > MaxManifest:
		return 0, 0, fmt.Errorf("%w: a manifest of %d bytes, the bound is %d", ErrMalformed, len(b), MaxManifest)
	case len(b) < prefixSize+trailerSize || string(b[:len(magic)]) != magic:
		return 0, 0, fmt.Errorf("%w: %d bytes that are no image manifest", ErrMalformed, len(b))
	case le.Uint32(b[8:]) != Version:
		return 0, 0, fmt.Errorf("%w: %d; this program knows %d", ErrVersion, le.Uint32(b[8:]), Version)
	case le.Uint32(b[20:]) != 0:
		return 0, 0, fmt.Errorf("%w: reserved bytes are in use", ErrMalformed)
	}
	h, n := uint64(le.Uint32(b[12:])), uint64(le.Uint32(b[16:]))
	want := prefixSize + h + n*chunkSize + trailerSize
	if h > maxHeader || want != uint64(len(b)) {
		return 0, 0, fmt.Errorf("%w: a manifest of %d bytes that says it has %d", ErrMalformed, len(b), want)
	}
	return int(h), int(n), nil
}

// parseHeader refuses keys that it does not know: what a newer program put
// there may be a condition that an older one would break.
func parseHeader(b []byte) (header, error) {
	var h header
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, fmt.Errorf("%w: header: %s", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return h, fmt.Errorf("%w: more than one header", ErrMalformed)
	}
	return h, nil
}

func parseChunks(b []byte, n int) []Chunk {
	le := binary.LittleEndian
	chunks := make([]Chunk, n)
	var at int64
	for i := range chunks {
		e := b[i*chunkSize:]
		chunks[i] = Chunk{
			Offset: int64(le.Uint64(e)),
			Length: int(le.Uint32(e[8:])),
			At:     at,
			Stored: int(le.Uint32(e[12:])),
			Digest: Digest(e[16:chunkSize]),
		}
		at += int64(chunks[i].Stored)
	}
	return chunks
}
