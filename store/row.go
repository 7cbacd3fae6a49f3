package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A stored row is
//
//	rowFormat  schema-version  entry-count  (length entry)*  body
//
// with the numbers as unsigned varints and the body as JSON of that schema
// version. The entries are the keys of the row's index entries, relative to the
// table's index space. They are kept so that a write or delete removes exactly
// the entries that exist, without decoding (and perhaps migrating) the old body.
const rowFormat = 1

var errRowSyntax = errors.New("stored row is damaged")

// row is a stored row taken apart; its slices point into what was read.
type row struct {
	version int
	entries [][]byte
	body    []byte
}

func appendRow(b []byte, version int, entries []entry, body []byte) []byte {
	b = append(b, rowFormat)
	b = binary.AppendUvarint(b, uint64(version))
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(len(e.key)))
		b = append(b, e.key...)
	}
	return append(b, body...)
}

func parseRow(b []byte) (row, error) {
	if len(b) == 0 {
		return row{}, errRowSyntax
	}
	if b[0] > rowFormat {
		return row{}, fmt.Errorf("row format %d, this program knows %d: %w", b[0], rowFormat, ErrNewer)
	}
	version, b, ok := cutUvarint(b[1:])
	count, b, ok2 := cutUvarint(b)
	if !ok || !ok2 || version == 0 || version > maxVersion || count > uint64(len(b)) {
		return row{}, errRowSyntax
	}
	r := row{version: int(version)}
	if count > 0 {
		r.entries = make([][]byte, 0, count)
	}
	for range count {
		var n uint64
		if n, b, ok = cutUvarint(b); !ok || n > uint64(len(b)) {
			return row{}, errRowSyntax
		}
		r.entries = append(r.entries, b[:n:n])
		b = b[n:]
	}
	r.body = b
	return r, nil
}

func cutUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
