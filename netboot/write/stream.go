package write

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/gantry-pod/gantry/images/format"
)

// streamBytes is how much of a root file system one request asks for: what
// arrived is held until it is its turn.
const streamBytes = 2 << 20

// Stream gives the payload of a root-file-system image, a tar, in order. Ranges
// are fetched ahead, req.Workers at a time; a byte is handed out only after its
// chunk's digest was checked. A read error is or wraps a *job.Problem; io.EOF
// means that all of the image was read. Close must be called, and stops it.
func Stream(ctx context.Context, req Request) (*Reader, error) {
	req.fill()
	l := &link{client: req.Client, limit: &limiter{rate: req.RateLimit}}
	m, err := fetchManifest(ctx, &req, l)
	if err == nil {
		err = req.checkKind(m, format.RootFS)
	}
	if err != nil {
		return nil, asProblem(ctx, err, req.name())
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	s := &Reader{fetcher: fetcher{l, &req, m}, pipe: r, cancel: cancel, turns: make(chan chan part, req.Workers)}
	go s.dispatch(ctx)
	go func() {
		w.CloseWithError(asProblem(ctx, s.copy(ctx, w), req.name()))
		cancel()
	}()
	return s, nil
}

// Reader is what [Stream] returns: it fetches ahead and puts in order.
type Reader struct {
	fetcher
	pipe   *io.PipeReader
	cancel context.CancelFunc
	turns  chan chan part // in order; each gets one part
	read   atomic.Int64
}

// Read implements io.Reader.
func (s *Reader) Read(p []byte) (int, error) {
	n, err := s.pipe.Read(p)
	s.read.Add(int64(n))
	return n, err
}

// Size is how many bytes the payload has.
func (s *Reader) Size() int64 { return s.m.Size }

// Done is how many of them were read.
func (s *Reader) Done() int64 { return s.read.Load() }

// Fetched is how many bytes came over the network, the manifest's included.
func (s *Reader) Fetched() int64 { return s.fetched.Load() }

// part is one run's chunks, verified.
type part struct {
	run run
	raw [][]byte
	err error
}

// Close implements io.Closer.
func (s *Reader) Close() error {
	s.cancel()
	return s.pipe.Close()
}

// dispatch starts a fetch whenever there is room for its result.
func (s *Reader) dispatch(ctx context.Context) {
	defer close(s.turns)
	for _, r := range runs(s.m.Chunks, 0, len(s.m.Chunks), streamBytes) {
		turn := make(chan part, 1)
		select {
		case s.turns <- turn:
			go func() { turn <- s.part(ctx, r) }()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Reader) part(ctx context.Context, r run) part {
	w, err := newWorker(s.m, false)
	if err != nil {
		return part{err: err}
	}
	defer w.close()
	p := part{run: r}
	p.err = s.fetch(ctx, w, r, func(_ int, raw []byte) error {
		p.raw = append(p.raw, append([]byte(nil), raw...))
		return nil
	})
	return p
}

// copy writes the parts, and zeros between them, to w.
func (s *Reader) copy(ctx context.Context, w io.Writer) error {
	var at int64
	for turn := range s.turns {
		p := <-turn
		if p.err != nil {
			return p.err
		}
		for i, raw := range p.raw {
			c := &s.m.Chunks[p.run.first+i]
			if _, err := io.CopyN(w, zeroReader{}, c.Offset-at); err != nil {
				return err
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
			at = c.End()
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := io.CopyN(w, zeroReader{}, s.m.Size-at)
	return err
}

// zeroReader reads zeros without end.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
