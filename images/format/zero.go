package format

import "bytes"

// zeros is only ever read.
var zeros [64 << 10]byte

// IsZero reports whether b has no byte but zero.
func IsZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// extent is a piece [from, to) of a buffer.
type extent struct{ from, to int }

// extents cuts b into its pieces that are not zeros. Pieces begin and end at
// multiples of Align (or at the end of b), and a run of fewer than gap zeros
// does not divide one.
func extents(b []byte, gap int) []extent {
	var found []extent
	for at := 0; at < len(b); at += Align {
		end := min(at+Align, len(b))
		if IsZero(b[at:end]) {
			continue
		}
		if n := len(found); n > 0 && at-found[n-1].to < gap {
			found[n-1].to = end
		} else {
			found = append(found, extent{at, end})
		}
	}
	return found
}
