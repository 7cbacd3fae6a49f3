package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow is the most memory that a zstd stream may ask for: what
// zstd --long=27 makes.
const maxWindow = 128 << 20

var compressions = []struct{ name, mark string }{
	{"gz", "\x1f\x8b\x08"},
	{"zst", "\x28\xb5\x2f\xfd"},
	{"xz", "\xfd7zXZ\x00"},
}

// refusedCompressions are told by name, so that a person knows what to do.
var refusedCompressions = []struct{ name, mark string }{
	{"bzip2", "BZh"}, {"lz4", "\x04\x22\x4d\x18"}, {"zip", "PK\x03\x04"}, {"7z", "7z\xbc\xaf\x27\x1c"}, {"lzip", "LZIP"},
}

// sniff names the compression of what r begins with, or "none".
func sniff(r *bufio.Reader) (string, error) {
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read source: %w", err)
	}
	for _, c := range compressions {
		if bytes.HasPrefix(head, []byte(c.mark)) {
			return c.name, nil
		}
	}
	for _, c := range refusedCompressions {
		if bytes.HasPrefix(head, []byte(c.mark)) {
			return "", fmt.Errorf("%w: compressed with %s; gzip, zstd, xz and none are known", ErrUnsupported, c.name)
		}
	}
	return "none", nil
}

// decompress returns the plain stream of r and how it was compressed.
func decompress(r *bufio.Reader, want string) (io.Reader, string, error) {
	found, err := sniff(r)
	if err != nil {
		return nil, "", err
	}
	if want != "" && want != "auto" && want != found {
		return nil, "", fmt.Errorf("%w: compression is %q, not %q as was said", ErrUnsupported, found, want)
	}
	src := &decoded{source: r, name: found}
	switch found {
	case "none":
		return r, found, nil
	case "gz":
		src.plain, err = gzip.NewReader(readerOnly{src})
	case "zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(readerOnly{src}, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		src.plain = z
	case "xz":
		if err = checkXZ(r); err == nil {
			src.plain, err = xz.NewReader(readerOnly{src})
		}
	}
	if err != nil {
		return nil, "", src.explain(err)
	}
	return src, found, nil
}

// decoded tells what is wrong with a compressed stream from what is wrong with
// where it comes from.
type decoded struct {
	source io.Reader
	name   string
	plain  io.Reader
	failed error // what the source failed with
}

// readerOnly lets a decompressor read the compressed source.
type readerOnly struct{ d *decoded }

func (r readerOnly) Read(p []byte) (int, error) {
	n, err := r.d.source.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.d.failed = err
	}
	return n, err
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.plain.Read(p)
	return n, d.explain(err)
}

func (d *decoded) explain(err error) error {
	switch {
	case err == nil, err == io.EOF:
		return err
	case d.failed != nil:
		return fmt.Errorf("read source: %w", d.failed)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the %s stream ends early", ErrTruncated, d.name)
	}
	return fmt.Errorf("%w: %s stream: %s", ErrCorrupt, d.name, err)
}

// maxDictBits is the coded size of the largest xz dictionary that is accepted,
// 128 MiB; xz -9 asks for 64 MiB (xz file format 1.2.0, 5.3.1).
const maxDictBits = 30

// checkXZ refuses an xz stream whose first block asks for much memory, before
// the decompressor grants it.
func checkXZ(r *bufio.Reader) error {
	// Stream header 12, then block header: size, flags, [sizes], filters.
	b, err := r.Peek(12 + 64)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(b) < 24 || b[12] == 0 {
		return nil // no block; the decompressor says what is wrong with that
	}
	flags, at := b[13], 14
	for _, present := range []byte{0x40, 0x80} {
		for flags&present != 0 && at < len(b) {
			at++
			if b[at-1]&0x80 == 0 {
				break
			}
		}
	}
	if at+2 < len(b) && b[at] == 0x21 && b[at+2] > maxDictBits {
		return fmt.Errorf("%w: its dictionary is larger than 128 MiB", ErrUnsupported)
	}
	return nil
}

// drain reads what is behind the payload. Behind a compressed stream there may
// be padding of zeros only: anything else was not looked at.
func drain(r io.Reader, compression string) error {
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		if compression != "none" && len(bytes.Trim(b[:n], "\x00")) > 0 {
			return fmt.Errorf("%w: something follows the %s stream", ErrCorrupt, compression)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
	}
}
