package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEscapeReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ls\r", "ls\r"},
		{"~.", ""},
		{"ls\r~.never", "ls\r"},
		{"ls\n~.never", "ls\n"},
		{"a~.b", "a~.b"},
		{"~~.x", "~.x"},
		{"~x~.", "~x~."},
		{"~\r~.", "~\r"},
		{"", ""},
	} {
		for name, reader := range map[string]io.Reader{
			"whole":       strings.NewReader(c.in),
			"single keys": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			got, err := io.ReadAll(&escapeReader{from: reader})
			if err != nil || string(got) != c.want {
				t.Errorf("%q, %s: %q, %v; want %q", c.in, name, got, err, c.want)
			}
		}
	}
}

// FuzzEscapeReader holds that how keys come in makes no difference, and that
// nothing is added but held-back tildes.
func FuzzEscapeReader(f *testing.F) {
	f.Add([]byte("ls\r~~~.~."))
	f.Add([]byte("~"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		whole, err := io.ReadAll(&escapeReader{from: bytes.NewReader(keys)})
		if err != nil {
			t.Fatal(err)
		}
		single, err := io.ReadAll(&escapeReader{from: iotest.OneByteReader(bytes.NewReader(keys))})
		if err != nil || !bytes.Equal(whole, single) || len(whole) > len(keys) {
			t.Errorf("%q: %q at once, %q key by key, %v", keys, whole, single, err)
		}
	})
}
