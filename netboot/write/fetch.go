package write

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gantry-pod/gantry/images/format"
)

// rangeBytes is how much of the data file one request asks for: enough that a
// round trip of a quarter of a second is small beside it on a fast link.
const rangeBytes = 8 << 20

// damageLimit is how often a chunk that arrived damaged is fetched again before
// the source, not the link, is blamed.
const damageLimit = 3

// run is a number of chunks, [first, end), that follow one another in the data.
type run struct{ first, end int }

// runs cuts the chunks [first, end) into runs of about most stored bytes.
func runs(chunks []format.Chunk, first, end int, most int64) []run {
	var all []run
	for first < end {
		r := run{first, first + 1}
		for r.end < end && chunks[r.end].At+int64(chunks[r.end].Stored)-chunks[first].At <= most {
			r.end++
		}
		all = append(all, r)
		first = r.end
	}
	return all
}

// fetcher fetches runs; several goroutines may use one, each with its worker.
type fetcher struct {
	*link
	req *Request
	m   *format.Manifest
}

// sink takes chunk i's verified bytes; it may not keep them.
type sink func(i int, raw []byte) error

// transfer is where one run's fetching stands.
type transfer struct {
	next    int // the chunk that is to come
	have    int // bytes of its stored form that arrived
	damaged int // times that it arrived damaged
}

// fetch hands every chunk of r to to, in order, taking up a transfer that was
// interrupted at the byte where it stopped.
func (f *fetcher) fetch(ctx context.Context, w *worker, r run, to sink) error {
	t := transfer{next: r.first}
	var again retrier
	arrived := int64(0)
	for t.next < r.end {
		n, err := f.attempt(ctx, w, r, &t, to)
		arrived += n
		if err == nil {
			continue
		}
		if err := again.again(ctx, err, arrived); err != nil {
			return err
		}
		f.retries.Add(1)
		f.req.Log.Warn("transfer interrupted, taking it up again", "chunk", t.next, "have", t.have, "err", err)
	}
	return nil
}

// attempt makes one request for what is left of r. It returns how many bytes
// arrived.
func (f *fetcher) attempt(ctx context.Context, w *worker, r run, t *transfer, to sink) (arrived int64, err error) {
	chunks := f.m.Chunks
	last := &chunks[r.end-1]
	from, until := chunks[t.next].At+int64(t.have), last.At+int64(last.Stored)
	res, err := f.get(ctx, f.req.Image.DataURL, from, until)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if err := checkRange(f.req.Image.DataURL, res.Header.Get("Content-Range"), from, until, f.m.DataSize()); err != nil {
		return 0, err
	}
	for t.next < r.end {
		c := &chunks[t.next]
		n, err := io.ReadFull(res.Body, w.stored[t.have:c.Stored])
		t.have += n
		arrived += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: the connection ended", errPassing)
		}
		if err != nil {
			return arrived, err
		}
		t.have = 0
		raw, err := w.decoder.Decode(w.raw, w.stored[:c.Stored], c)
		if err != nil {
			return arrived, f.damage(t, err)
		}
		if err := to(t.next, raw); err != nil {
			return arrived, err
		}
		t.next, t.damaged = t.next+1, 0
	}
	return arrived, nil
}

// damage is the error for a chunk that arrived damaged.
func (f *fetcher) damage(t *transfer, err error) error {
	if t.damaged++; t.damaged < damageLimit {
		return fmt.Errorf("%w: %s", errPassing, err)
	}
	return fmt.Errorf("chunk %d, fetched %d times: %w", t.next, t.damaged, err)
}
