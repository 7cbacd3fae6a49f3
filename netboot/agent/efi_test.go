package agent

import (
	"bytes"
	"testing"
)

func TestCurrentFirst(t *testing.T) {
	const attr = "\x07\x00\x00\x00"
	for _, c := range []struct{ name, order, current, want string }{
		{"a disk got before it", attr + "\x05\x00\x01\x00\x02\x00", attr + "\x01\x00", attr + "\x01\x00\x05\x00\x02\x00"},
		{"is first", attr + "\x01\x00\x05\x00", attr + "\x01\x00", ""},
		{"is not in it", attr + "\x05\x00", attr + "\x0a\x00", attr + "\x0a\x00\x05\x00"},
		{"empty order", attr, attr + "\x01\x00", ""},
		{"odd order", attr + "\x05\x00\x01", attr + "\x01\x00", ""},
		{"no current", attr + "\x05\x00", "", ""},
	} {
		if got := currentFirst([]byte(c.order), []byte(c.current)); !bytes.Equal(got, []byte(c.want)) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
}
