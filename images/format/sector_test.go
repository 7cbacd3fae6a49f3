package format

import "testing"

func TestSectorSize(t *testing.T) {
	head := func(at int, magic string) []byte {
		b := make([]byte, HeadBytes)
		copy(b[at:], magic)
		return b
	}
	for _, c := range []struct {
		head []byte
		want int
	}{{head(512, "EFI PART"), 512}, {head(4096, "EFI PART"), 4096}, {head(510, "\x55\xaa"), 512}, {head(0, ""), 0}, {nil, 0}, {head(510, "\x55\xaaEFI PART"), 512}} {
		if got := SectorSize(c.head); got != c.want {
			t.Errorf("%d, want %d", got, c.want)
		}
	}
}
