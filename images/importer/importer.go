package importer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/gantry-pod/gantry/images/format"
)

// Errors that callers tell apart; each comes wrapped with what and where.
var (
	// ErrUnsupported: what the source is cannot be imported, or is not known.
	ErrUnsupported = errors.New("unsupported image")
	// ErrTruncated: the source ends before its own description of itself does.
	ErrTruncated = errors.New("truncated image")
	// ErrCorrupt: the source contradicts itself.
	ErrCorrupt = errors.New("corrupt image")
	// ErrChecksum: the source is not the one that was meant.
	ErrChecksum = errors.New("checksum mismatch")
)

// Options refines [Open]. The zero value recognises everything by its content.
type Options struct {
	// Format is "auto" (or empty), "raw", "qcow2" or "tar". Another than the
	// content's is an error.
	Format string
	// Compression is "auto" (or empty), "none", "gz", "zst" or "xz".
	Compression string
	// Checksum of the source as it is, compressed or not: "sha256:" and 64 hex
	// digits. Empty checks nothing.
	Checksum string
	// MaxSize bounds the image's size in bytes; 0 is the format's own bound.
	MaxSize int64
	// TempDir is where a qcow2 file is kept that does not come from a plain file;
	// empty is the system's.
	TempDir string
}

// Image is an opened source: the payload of an image of its Kind. Read it to
// io.EOF, then call Finish, which decides whether it was what it should be.
type Image struct {
	// Kind is what the payload is.
	Kind format.Kind
	// Size is the payload's size in bytes if it is known, or 0.
	Size int64

	payload io.Reader
	finish  []func() error // in order
	close   []func() error // in reverse order
}

// Read reads the payload. An error that wraps [ErrTruncated] or [ErrCorrupt]
// says that the source is no good.
func (i *Image) Read(p []byte) (int, error) { return i.payload.Read(p) }

// Finish is called after io.EOF. It reads the source to its end and checks it.
func (i *Image) Finish() error {
	for _, f := range i.finish {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// Close removes temporary files; it does not close the source.
func (i *Image) Close() error {
	var errs []error
	for n := len(i.close) - 1; n >= 0; n-- {
		errs = append(errs, i.close[n]())
	}
	i.close = nil
	return errors.Join(errs...)
}

// peekSize is enough to see every format's mark: ISO 9660's is at 32769.
const peekSize = 64 << 10

// Open looks at a source and returns its payload. src is read from where it
// stands; a *os.File is not read twice.
func Open(ctx context.Context, src io.Reader, o Options) (*Image, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = format.MaxSize
	}
	img := &Image{}
	if err := img.open(ctx, src, &o); err != nil {
		img.Close()
		return nil, err
	}
	return img, nil
}

func (i *Image) open(ctx context.Context, src io.Reader, o *Options) error {
	sum, err := newChecksum(o.Checksum)
	if err != nil {
		return err
	}
	source := bufio.NewReaderSize(io.TeeReader(contextReader{ctx, src}, sum), peekSize)
	plain, compression, err := decompress(source, o.Compression)
	if err != nil {
		return err
	}
	// Everything behind the payload still counts towards the checksum.
	i.finish = append(i.finish, func() error { return drain(source, compression) }, sum.check)
	content := bufio.NewReaderSize(plain, peekSize)
	head, err := content.Peek(peekSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	kind, err := recognise(head, o.Format)
	if err != nil {
		return err
	}
	switch kind {
	case "qcow2":
		return i.openQcow2(content, o)
	case "tar":
		i.Kind = format.RootFS
		t := newTarCheck()
		i.payload = io.TeeReader(content, t)
		i.finish = append([]func() error{t.finish}, i.finish...)
		i.close = append(i.close, t.stop)
	default:
		i.Kind = format.Disk
		d := &diskCheck{head: append([]byte(nil), head...)}
		i.payload = io.TeeReader(content, d)
		i.finish = append([]func() error{d.finish}, i.finish...)
	}
	return nil
}

// openQcow2 keeps the file: its clusters are in any order.
func (i *Image) openQcow2(content io.Reader, o *Options) error {
	f, err := os.CreateTemp(o.TempDir, "qcow2-*")
	if err != nil {
		return fmt.Errorf("keep qcow2 file: %w", err)
	}
	i.close = append(i.close, func() error { return errors.Join(f.Close(), os.Remove(f.Name())) })
	n, err := io.Copy(f, io.LimitReader(content, o.MaxSize+1))
	if err != nil {
		return fmt.Errorf("keep qcow2 file: %w", err)
	}
	if n > o.MaxSize {
		return fmt.Errorf("%w: more than %d bytes", format.ErrTooLarge, o.MaxSize)
	}
	q, err := OpenQcow2(f, n)
	if err != nil {
		return err
	}
	if q.Size() > o.MaxSize {
		return fmt.Errorf("%w: a virtual disk of %d bytes, more than %d", format.ErrTooLarge, q.Size(), o.MaxSize)
	}
	i.Kind, i.Size = format.Disk, q.Size()
	i.payload = io.NewSectionReader(q, 0, q.Size())
	return nil
}

// checksum hashes a source if it is to be checked.
type checksum struct {
	hash.Hash
	want string
}

func newChecksum(s string) (*checksum, error) {
	c := &checksum{Hash: sha256.New()}
	if s == "" {
		return c, nil
	}
	digits, ok := strings.CutPrefix(s, "sha256:")
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("%w: %q is not sha256: and 64 hex digits", ErrChecksum, s)
	}
	c.want = strings.ToLower(digits)
	return c, nil
}

// Write skips the work if nothing is to be checked.
func (c *checksum) Write(p []byte) (int, error) {
	if c.want == "" {
		return len(p), nil
	}
	return c.Hash.Write(p)
}

func (c *checksum) check() error {
	if got := hex.EncodeToString(c.Sum(nil)); c.want != "" && got != c.want {
		return fmt.Errorf("%w: the source is sha256:%s, not sha256:%s", ErrChecksum, got, c.want)
	}
	return nil
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(p)
}
