package tftp

import (
	"bufio"
	"io"
)

// netascii translates a text file with LF line ends into netascii (RFC 1350
// section 1, RFC 764): LF becomes CR LF, and a bare CR becomes CR NUL.
type netascii struct {
	src     *bufio.Reader
	pending byte // second byte of a pair that did not fit
	has     bool
}

func newNetascii(r io.Reader) *netascii { return &netascii{src: bufio.NewReaderSize(r, 32<<10)} }

// Read implements io.Reader.
func (t *netascii) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if t.has {
			p[n], t.has = t.pending, false
			n++
			continue
		}
		c, err := t.src.ReadByte()
		if err != nil {
			if n > 0 && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		switch c {
		case '\n':
			p[n], t.pending, t.has = '\r', '\n', true
		case '\r':
			p[n], t.pending, t.has = '\r', 0, true
		default:
			p[n] = c
		}
		n++
	}
	return n, nil
}
