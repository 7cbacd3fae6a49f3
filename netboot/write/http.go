package write

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What a bad link is given. A retry takes up where the transfer stopped, so
// patience counts only time in which not one byte arrived.
const (
	stallAfter  = 20 * time.Second
	patience    = 2 * time.Minute
	backoffMin  = 100 * time.Millisecond
	backoffMost = 5 * time.Second
)

// errPassing marks failures that another try may not meet.
var errPassing = errors.New("transfer interrupted")

// link is one HTTP source with what its transfers have in common.
type link struct {
	client  *http.Client
	limit   *limiter
	fetched atomic.Int64
	retries atomic.Int64
}

// body is a response's body that ends a stall, keeps to the rate, and counts.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelFunc
	watch  *time.Timer
	link   *link
}

func (b *body) Read(p []byte) (int, error) {
	b.watch.Reset(stallAfter)
	n, err := b.ReadCloser.Read(p[:b.link.limit.piece(len(p))])
	b.watch.Stop()
	b.link.fetched.Add(int64(n))
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("%w: %w", errPassing, err)
	}
	if werr := b.link.limit.wait(b.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}

func (b *body) Close() error {
	b.watch.Stop()
	b.cancel()
	return b.ReadCloser.Close()
}

// get asks for bytes [from, to) of a URL, or for all of it if to is 0, and
// returns the response, whose status is the one that was to be expected.
func (l *link) get(ctx context.Context, url string, from, to int64) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	watch := time.AfterFunc(stallAfter, cancel)
	fail := func(err error) (*http.Response, error) {
		watch.Stop()
		cancel()
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fail(problem("network", false, "%s is no URL: %s", url, err))
	}
	// An answer that was compressed on the way would not be the range asked for.
	req.Header.Set("Accept-Encoding", "identity")
	want := http.StatusOK
	if to > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		want = http.StatusPartialContent
	}
	res, err := l.client.Do(req)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", errPassing, err))
	}
	if res.StatusCode != want {
		res.Body.Close()
		return fail(statusError(url, res, to))
	}
	res.Body = &body{res.Body, ctx, cancel, watch, l}
	return res, nil
}

// statusError tells a status that will pass from one that will not. to is the
// end of the range that was asked for, or 0 for all.
func statusError(url string, res *http.Response, to int64) error {
	switch code := res.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s answers %s", errPassing, url, res.Status)
	case code == http.StatusRequestedRangeNotSatisfiable:
		return problem("image-truncated", false, "%s is shorter than the manifest says: it has %s", url, res.Header.Get("Content-Range"))
	case code == http.StatusOK && res.ContentLength >= 0 && res.ContentLength < to:
		return problem("image-truncated", false, "%s is %d bytes, byte %d was asked for", url, res.ContentLength, to-1)
	case code == http.StatusOK:
		return problem("network", false, "%s does not serve ranges", url)
	default:
		return problem("network", false, "%s answers %s", url, res.Status)
	}
}

// checkRange checks a Content-Range (RFC 9110, 14.4) against what was asked for
// and against how long the data must be.
func checkRange(url, got string, from, to, size int64) error {
	span, total, ok := strings.Cut(strings.TrimPrefix(got, "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	n, err := strconv.ParseInt(total, 10, 64)
	a, err1 := strconv.ParseInt(first, 10, 64)
	z, err2 := strconv.ParseInt(last, 10, 64)
	switch {
	case !ok || !ok2 || errors.Join(err, err1, err2) != nil || a != from || z >= to:
		return problem("network", false, "%s answers with range %q to a request for %d-%d", url, got, from, to-1)
	case n != size:
		return problem("image-truncated", false, "%s is %d bytes, the manifest says %d", url, n, size)
	}
	return nil
}

// retrier decides whether and when a failed transfer is tried again.
type retrier struct {
	pause    time.Duration
	since    time.Time // of the last byte that arrived
	progress int64     // bytes at that time
}

// again waits and returns nil if err may pass; otherwise it returns why not.
// progress is any count that grows when bytes arrive.
func (r *retrier) again(ctx context.Context, err error, progress int64) error {
	now := time.Now()
	if r.since.IsZero() || progress > r.progress {
		r.since, r.progress, r.pause = now, progress, backoffMin
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.Is(err, errPassing):
		return err
	case now.Sub(r.since) > patience:
		return problem("network", true, "nothing arrived for %s: %s", now.Sub(r.since).Round(time.Second), err)
	}
	t := time.NewTimer(r.pause/2 + rand.N(r.pause))
	defer t.Stop()
	r.pause = min(2*r.pause, backoffMost)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
