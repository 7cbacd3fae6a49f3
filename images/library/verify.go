package library

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-pod/gantry/images/format"
)

// Verify reads all of an image and checks every digest in it. progress, if set,
// is called with payload bytes, never by two goroutines at once.
func (l *Library) Verify(ctx context.Context, ref string, progress Progress) error {
	img, err := l.Get(ref)
	if err != nil {
		return err
	}
	m, err := l.manifest(img.Digest)
	if err == nil {
		err = m.SignedBy([]string{l.PublicKey()})
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", img.Ref, err)
	}
	f, err := os.Open(l.path("images", img.Digest, "data"))
	if err != nil {
		return fmt.Errorf("verify %s: %w", img.Ref, err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != m.DataSize() {
		return fmt.Errorf("verify %s: %w: its data is not %d bytes", img.Ref, errors.Join(format.ErrDigest, err), m.DataSize())
	}
	if err := verifyData(ctx, f, m, progress); err != nil {
		return fmt.Errorf("verify %s: %w", img.Ref, err)
	}
	return nil
}

func verifyData(ctx context.Context, f *os.File, m *format.Manifest, progress Progress) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	done := make(chan int64)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error { return verifyChunks(ctx, f, m, &next, done) })
	}
	result := make(chan error, 1)
	go func() {
		result <- g.Wait()
		close(done)
	}()
	var sum int64
	for n := range done {
		sum += n
		if progress != nil {
			progress(sum, m.Payload())
		}
	}
	return <-result
}

// verifyChunks takes one chunk after another until none is left.
func verifyChunks(ctx context.Context, f *os.File, m *format.Manifest, next *atomic.Int64, done chan<- int64) error {
	d, err := format.NewDecoder()
	if err != nil {
		return err
	}
	defer d.Close()
	stored, raw := make([]byte, format.MaxChunk), make([]byte, format.MaxChunk)
	for ctx.Err() == nil {
		i := int(next.Add(1)) - 1
		if i >= len(m.Chunks) {
			return nil
		}
		c := &m.Chunks[i]
		if _, err := f.ReadAt(stored[:c.Stored], c.At); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		if _, err := d.Decode(raw, stored[:c.Stored], c); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		done <- int64(c.Length)
	}
	return context.Cause(ctx)
}
