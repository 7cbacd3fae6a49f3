package write

import (
	"context"

	"github.com/gantry-pod/gantry/images/format"
)

// Head fetches the image's first chunk and returns the image's beginning: at most
// most bytes, fewer if the chunk has fewer, none if the image begins with zeros.
// m is what [FetchManifest] returned for req. It touches no disk: a caller may
// learn from it what disk the image is for.
func Head(ctx context.Context, req Request, m *format.Manifest, most int) ([]byte, error) {
	if len(m.Chunks) == 0 || m.Chunks[0].Offset != 0 {
		return nil, nil
	}
	req.fill()
	w, err := newWorker(m, false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	f := fetcher{&link{client: req.Client, limit: &limiter{rate: req.RateLimit}}, &req, m}
	var head []byte
	err = f.fetch(ctx, w, run{0, 1}, func(_ int, raw []byte) error {
		head = append(head, raw[:min(most, len(raw))]...)
		return nil
	})
	return head, asProblem(ctx, err, req.name())
}
