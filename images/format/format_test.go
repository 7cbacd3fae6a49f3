package format

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// testImage is size bytes of a mix: zeros, text that compresses and noise that
// does not, in pieces of all sizes. The same seed gives the same.
func testImage(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for at := 0; at < size; {
		n := min(size-at, 1+r.IntN(600<<10))
		piece := b[at : at+n]
		switch r.IntN(3) {
		case 1:
			for i := range piece {
				piece[i] = byte(i % 61)
			}
		case 2:
			for i := range piece {
				piece[i] = byte(r.Uint32())
			}
		}
		at += n
	}
	return b
}

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func testMeta() Meta {
	return Meta{
		Name: "debian", Version: "12.1", OS: "debian", OSVersion: "12", Arch: "amd64", Firmware: "both",
		ServerKind: "plain", Applications: []string{"nginx 1.22"}, MinMemory: 1 << 28, LicenceCost: "12.50",
		Created: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
	}
}

// packed packs an image and returns its manifest, signed and parsed, and data.
func packed(t testing.TB, raw []byte, o PackOptions) (*Manifest, []byte, []byte) {
	t.Helper()
	var data bytes.Buffer
	c, err := Pack(t.Context(), bytes.NewReader(raw), &data, o)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Kind: Disk, Meta: testMeta(), Content: *c}
	b, err := m.Sign(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return m, b, data.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{1, 511, 512, 4096, 4097, DefaultChunk, DefaultChunk + 1, 9<<20 + 12345} {
		raw := testImage(uint64(size), size)
		m, b, data := packed(t, raw, PackOptions{})
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("size %d: manifest changed (-packed +parsed):\n%s", size, d)
		}
		if int64(len(data)) != got.DataSize() {
			t.Errorf("size %d: %d bytes of data, the manifest says %d", size, len(data), got.DataSize())
		}
		if !bytes.Equal(unpack(t, got, data), raw) {
			t.Errorf("size %d: content changed", size)
		}
	}
}

func unpack(t testing.TB, m *Manifest, data []byte) []byte {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out := make([]byte, m.Size)
	for i := range m.Chunks {
		c := &m.Chunks[i]
		if _, err := d.Decode(out[c.Offset:c.End()], data[c.At:c.At+int64(c.Stored)], c); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestPackIsDeterministic(t *testing.T) {
	raw := testImage(3, 20<<20)
	_, a, dataA := packed(t, raw, PackOptions{Workers: 1})
	_, b, dataB := packed(t, raw, PackOptions{Workers: 7})
	if !bytes.Equal(a, b) || !bytes.Equal(dataA, dataB) {
		t.Error("the same image packed with 1 and with 7 workers differs")
	}
}

func TestZerosAreLeftOut(t *testing.T) {
	raw := make([]byte, 8<<20)
	raw[5<<20] = 1
	m, _, _ := packed(t, raw, PackOptions{})
	want := []Chunk{{Offset: 5 << 20, Length: Align}}
	for i := range m.Chunks {
		m.Chunks[i].Digest, m.Chunks[i].Stored = Digest{}, 0
	}
	if d := cmp.Diff(want, m.Chunks); d != "" {
		t.Error(d)
	}
}

func TestPackStopsAtMaxSize(t *testing.T) {
	_, err := Pack(t.Context(), bytes.NewReader(make([]byte, 3<<20)), &bytes.Buffer{}, PackOptions{MaxSize: 2 << 20})
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// TestParseRefuses signs manifests that lie, as whoever has a key could.
func TestParseRefuses(t *testing.T) {
	raw := testImage(1, 4<<20)
	tests := []struct {
		name string
		lie  func(m *Manifest)
		says string
	}{
		{"overlap", func(m *Manifest) { m.Chunks[1].Offset = m.Chunks[0].Offset }, "overlaps"},
		{"beyond the end", func(m *Manifest) { m.Size = m.Chunks[len(m.Chunks)-1].End() - 1 }, "reaches beyond"},
		{"negative offset", func(m *Manifest) { m.Chunks[0].Offset = -Align }, "overlaps"},
		{"offset that overflows", func(m *Manifest) { m.Chunks[len(m.Chunks)-1].Offset = 1<<63 - Align }, "reaches beyond"},
		{"not aligned", func(m *Manifest) { m.Chunks[0].Offset++; m.Chunks[0].Length -= 2048 }, "not aligned"},
		{"no length", func(m *Manifest) { m.Chunks[0].Length = 0 }, "a length of 0"},
		{"long chunk", func(m *Manifest) { m.Chunks[0].Length = MaxChunk + Align }, "a length of"},
		{"stores more than it has", func(m *Manifest) { m.Chunks[0].Stored = m.Chunks[0].Length + 1 }, "stored bytes"},
		{"stores nothing", func(m *Manifest) { m.Chunks[0].Stored = 0 }, "stored bytes"},
		{"another digest", func(m *Manifest) { m.Chunks[0].Digest[0]++ }, "the header says"},
		{"another whole", func(m *Manifest) { m.Whole[0]++ }, "the header says"},
		{"no size", func(m *Manifest) { m.Size = 0 }, "a size of"},
		{"huge", func(m *Manifest) { m.Size = MaxSize + 1 }, "a size of"},
		{"kind", func(m *Manifest) { m.Kind = "floppy" }, "unknown kind"},
		{"name", func(m *Manifest) { m.Meta.Name = "../x" }, "name cannot be"},
		{"arch", func(m *Manifest) { m.Meta.Arch = "vax" }, "arch cannot be"},
		{"sectors", func(m *Manifest) { m.Meta.SectorSize = 512 }, "sector_size of this kind of image cannot be"},
		{"sectors of files", func(m *Manifest) { m.Kind, m.Meta.Firmware, m.Meta.SectorSize = RootFS, "", 4096 }, "sector_size"},
		{"cost", func(m *Manifest) { m.Meta.LicenceCost = "1e9" }, "licence_cost cannot be"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _, _ := packed(t, raw, PackOptions{})
			tt.lie(m)
			_, err := Parse(signUnchecked(m))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want ErrMalformed with %q", err, tt.says)
			}
			if _, err := m.Sign(testKey); !errors.Is(err, ErrMalformed) {
				t.Errorf("Sign: got %v, want ErrMalformed", err)
			}
		})
	}
}

func TestParseRefusesBytes(t *testing.T) {
	m, good, _ := packed(t, testImage(1, 1<<20), PackOptions{})
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] ^= b
		return c
	}
	resigned := func(at int, b byte) []byte { return resign(change(at, b)) }
	withHeader := func(h string) []byte { return signBytes(m, []byte(h)) }
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"magic", change(0, 1), ErrMalformed},
		{"newer version", resigned(8, 3), ErrVersion},
		{"header length", change(12, 1), ErrMalformed},
		{"chunk count", change(16, 1), ErrMalformed},
		{"huge chunk count", change(19, 0xff), ErrMalformed},
		{"reserved", resigned(20, 1), ErrMalformed},
		{"altered header", change(prefixSize+10, 1), ErrSignature},
		{"altered chunk", change(len(good)-trailerSize-1, 1), ErrSignature},
		{"altered signature", change(len(good)-1, 1), ErrSignature},
		{"altered key", change(len(good)-trailerSize, 1), ErrSignature},
		{"truncated", good[:len(good)-1], ErrMalformed},
		{"extended", append(bytes.Clone(good), 0), ErrMalformed},
		{"too large", make([]byte, MaxManifest+1), ErrMalformed},
		{"unknown key in header", withHeader(`{"kind":"disk","wipe":true}`), ErrMalformed},
		{"two headers", withHeader(`{"kind":"disk"}{}`), ErrMalformed},
		{"header that is no object", withHeader(`[]`), ErrMalformed},
	}
	for _, tt := range tests {
		if _, err := Parse(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSignedBy(t *testing.T) {
	m, _, _ := packed(t, []byte("x"), PackOptions{})
	other := EncodeKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))
	if err := m.SignedBy([]string{"?", other, EncodeKey(m.Key)}); err != nil {
		t.Error(err)
	}
	for _, keys := range [][]string{nil, {""}, {other}, {"AAAA"}} {
		if err := m.SignedBy(keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%v: got %v, want ErrSignature", keys, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	raw := bytes.Repeat([]byte("gantry"), 20000)
	m, _, data := packed(t, raw, PackOptions{})
	c := m.Chunks[0]
	bomb, _, bombData := packed(t, bytes.Repeat([]byte{1}, MaxChunk), PackOptions{Chunk: MaxChunk})
	tests := []struct {
		name   string
		stored []byte
		c      Chunk
	}{
		{"truncated", data[:len(data)-1], c},
		{"altered", append([]byte{data[0] ^ 1}, data[1:]...), c},
		{"bomb", bombData, Chunk{Length: Align, Stored: bomb.Chunks[0].Stored, Digest: bomb.Chunks[0].Digest}},
		{"short", data, Chunk{Length: c.Length + Align, Stored: c.Stored, Digest: c.Digest}},
		{"other bytes stored plainly", make([]byte, 4096), Chunk{Length: 4096, Stored: 4096, Digest: c.Digest}},
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, tt := range tests {
		dst := bytes.Repeat([]byte{0xaa}, MaxChunk)
		if _, err := d.Decode(dst, tt.stored, &tt.c); !errors.Is(err, ErrDigest) {
			t.Errorf("%s: got %v, want ErrDigest", tt.name, err)
		}
		for i, b := range dst[min(tt.c.Length+DecodeSlack, len(dst)):] {
			if b != 0xaa {
				t.Fatalf("%s: wrote %d bytes beyond the chunk", tt.name, i)
			}
		}
	}
}

// signUnchecked signs a manifest as Sign does but without its checks.
func signUnchecked(m *Manifest) []byte {
	h := mustJSON(header{m.Kind, m.Size, m.Whole, m.Meta})
	return signBytes(m, h)
}

func signBytes(m *Manifest, h []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte(nil), magic...)
	b = le.AppendUint32(b, Version)
	b = le.AppendUint32(b, uint32(len(h)))
	b = le.AppendUint32(b, uint32(len(m.Chunks)))
	b = append(le.AppendUint32(b, 0), h...)
	for _, c := range m.Chunks {
		b = le.AppendUint64(b, uint64(c.Offset))
		b = le.AppendUint32(b, uint32(c.Length))
		b = le.AppendUint32(b, uint32(c.Stored))
		b = append(b, c.Digest[:]...)
	}
	return resign(append(b, make([]byte, trailerSize)...))
}

func resign(b []byte) []byte {
	body := b[:len(b)-ed25519.SignatureSize]
	copy(body[len(body)-ed25519.PublicKeySize:], testKey.Public().(ed25519.PublicKey))
	return append(body, ed25519.Sign(testKey, signed(body))...)
}
