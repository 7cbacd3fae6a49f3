package write

import (
	"bytes"
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-pod/gantry/images/format"
)

// edge is the part at either end of a disk that may hold partition tables and
// array superblocks.
const edge = 1 << 20

// Write puts the image onto the target: see the package comment. It may be
// called again for the same target after any failure; it then starts over. On
// an error the target's old content is lost if anything was written.
func Write(ctx context.Context, req Request) (Stats, error) {
	req.fill()
	l := &link{client: req.Client, limit: &limiter{rate: req.RateLimit}}
	m, err := fetchManifest(ctx, &req, l)
	if err == nil {
		err = req.checkKind(m, format.Disk)
	}
	if err != nil {
		return Stats{}, asProblem(ctx, err, req.name())
	}
	t, err := openTarget(req.Target, max(m.Size, m.Meta.MinDisk), req.Block)
	if err != nil {
		return Stats{}, err
	}
	l.fetched.Store(0)
	w := &writer{fetcher: fetcher{l, &req, m}, target: t, sums: make([]format.Chunk, len(m.Chunks))}
	if err = w.write(ctx); err != nil {
		t.f.Close()
	} else {
		err = t.finish()
	}
	return w.stats(), asProblem(ctx, err, req.name()+" to "+req.Target)
}

// writer is one write in progress.
type writer struct {
	fetcher
	target                    *target
	written, zeroed, readBack atomic.Int64
	// sums are the chunks as they were written: each is set by the one worker
	// that wrote it.
	sums []format.Chunk
}

func (w *writer) stats() Stats {
	return Stats{
		Size: w.m.Size, Written: w.written.Load(), Zeroed: w.zeroed.Load(),
		Fetched: w.fetched.Load(), ReadBack: w.readBack.Load(), Retries: w.retries.Load(),
	}
}

func (w *writer) write(ctx context.Context) error {
	if err := w.zeroGaps(ctx); err != nil {
		return err
	}
	stop := watch(w.req.Progress, "write", &w.written, w.m.Payload())
	defer stop()
	inner, outer := w.plan()
	for _, stage := range [][]run{inner, outer} {
		if err := w.writeRuns(ctx, stage); err != nil {
			return err
		}
		// The edges make the disk startable, so all else must be durable first.
		if err := w.target.ioError("sync", 0, w.target.f.Sync()); err != nil {
			return err
		}
	}
	if got := format.Whole(w.m.Size, w.sums); got != w.m.Whole {
		return problem("image-digest", false, "what was written is %s as a whole, not %s", got, w.m.Whole)
	}
	return nil
}

// zeroGaps clears the edges of the disk, and makes zero all that no chunk will
// cover.
func (w *writer) zeroGaps(ctx context.Context) error {
	gaps := w.gaps()
	var total int64
	for _, g := range gaps {
		total += g.to - g.from
	}
	stop := watch(w.req.Progress, "zero", &w.zeroed, total)
	defer stop()
	for _, g := range gaps {
		if err := w.target.zero(ctx, g.from, g.to, func(n int64) { w.zeroed.Add(n) }); err != nil {
			return err
		}
	}
	if w.req.ReadBack && w.target.block {
		return w.sampleGaps(ctx, gaps)
	}
	return nil
}

// sampleMost bounds the samples: a disk that spins needs 10 ms for each.
const sampleMost = 512

// sampleGaps reads a part of what was made zero, before chunks are written over
// it: the disk's command for it may have done nothing. The samples are spread
// evenly, and the first one of each gap is its beginning.
func (w *writer) sampleGaps(ctx context.Context, gaps []span) error {
	k, err := newWorker(&format.Manifest{}, true)
	if err != nil {
		return err
	}
	defer k.close()
	var total int64
	for _, g := range gaps {
		total += g.to - g.from
	}
	step := max(total/sampleMost, edge)
	stride := (len(gaps) + sampleMost - 1) / sampleMost
	for i := 0; i < len(gaps); i += stride {
		for at := gaps[i].from; at < gaps[i].to; at += roundUp(step, format.Align) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b := k.back[:min(format.Align, gaps[i].to-at)]
			if err := w.target.readAt(b, at); err != nil {
				return err
			}
			if !format.IsZero(b) {
				return problem("readback-mismatch", true, "%s does not read as zeros at byte %d, which it was told to make zero", w.target.path, at)
			}
		}
	}
	return nil
}

type span struct{ from, to int64 }

// gaps lists the edges first, so that what the disk held cannot start any more.
func (w *writer) gaps() []span {
	size, disk := w.m.Size, w.target.size
	all := []span{{0, min(edge, size)}, {max(disk-edge, 0), disk}}
	var at int64
	for i := range w.m.Chunks {
		if c := &w.m.Chunks[i]; c.Offset > at {
			all = append(all, span{at, c.Offset})
		}
		at = w.m.Chunks[i].End()
	}
	if at < size {
		all = append(all, span{roundUp(at, format.Align), size})
	}
	return all
}

// plan cuts the chunks into runs: those within the image first, then those at
// its edges.
func (w *writer) plan() (inner, outer []run) {
	chunks := w.m.Chunks
	head, tail := 0, len(chunks)
	for head < tail && chunks[head].Offset < edge {
		head++
	}
	for tail > head && chunks[tail-1].End() > w.m.Size-edge {
		tail--
	}
	outer = append(runs(chunks, tail, len(chunks), rangeBytes), runs(chunks, 0, head, rangeBytes)...)
	return runs(chunks, head, tail, rangeBytes), outer
}

func (w *writer) writeRuns(ctx context.Context, all []run) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(w.req.Workers, len(all)) {
		g.Go(func() error {
			k, err := newWorker(w.m, w.req.ReadBack)
			if err != nil {
				return err
			}
			defer k.close()
			to := func(i int, raw []byte) error { return w.put(k, i, raw) }
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) || ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := w.fetch(ctx, k, all[i], to); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// put writes chunk i and reads it back. While this worker waits for the disk,
// others fetch and decompress.
func (w *writer) put(k *worker, i int, raw []byte) error {
	c := &w.m.Chunks[i]
	if err := w.target.writeAt(raw, c.Offset); err != nil {
		return err
	}
	if w.req.ReadBack {
		back := k.back[:len(raw)]
		if err := w.target.readAt(back, c.Offset); err != nil {
			return err
		}
		if !bytes.Equal(back, raw) {
			return problem("readback-mismatch", true, "%s does not give back the %d bytes written at %d", w.target.path, c.Length, c.Offset)
		}
		w.readBack.Add(int64(len(raw)))
	}
	w.sums[i] = format.Chunk{Offset: c.Offset, Length: len(raw), Digest: c.Digest}
	w.written.Add(int64(len(raw)))
	return nil
}
