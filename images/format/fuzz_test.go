package format

import (
	"bytes"
	"encoding/json"
	"testing"
)

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzParse re-signs what the fuzzer made, so that it gets past the signature.
// What Parse accepts must hold together, and encode to the same bytes.
func FuzzParse(f *testing.F) {
	for _, size := range []int{1, 4096, 3 << 20} {
		_, b, _ := packed(f, testImage(9, size), PackOptions{})
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > trailerSize {
			b = resign(bytes.Clone(b))
		}
		m, err := Parse(b)
		if err != nil {
			return
		}
		end := int64(0)
		for _, c := range m.Chunks {
			if c.Offset < end || c.End() > m.Size || c.Length > MaxChunk {
				t.Fatalf("accepted a chunk at %d of %d bytes behind %d", c.Offset, c.Length, end)
			}
			end = c.End()
		}
		if m.DataSize() < 0 || m.Payload() > m.Size {
			t.Fatal("accepted sizes that cannot be")
		}
		if _, err := m.Sign(testKey); err != nil {
			t.Fatalf("accepted what cannot be encoded: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	raw := bytes.Repeat([]byte("gantry"), 2000)
	m, _, data := packed(f, raw, PackOptions{})
	c := m.Chunks[0]
	f.Add(data, c.Length)
	f.Add(data[:20], 5)
	f.Fuzz(func(t *testing.T, stored []byte, length int) {
		if length <= 0 || length > MaxChunk || len(stored) > length || len(stored) == 0 {
			return
		}
		d, err := NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		k := Chunk{Length: length, Stored: len(stored), Digest: c.Digest}
		out, err := d.Decode(make([]byte, length), stored, &k)
		if err == nil && !bytes.Equal(out, raw) {
			t.Fatal("gave out bytes of another digest")
		}
	})
}
