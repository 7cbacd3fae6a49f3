package write

import (
	"context"
	"fmt"
	"io"

	"github.com/gantry-pod/gantry/images/format"
)

// FetchManifest fetches the manifest of req.Image and checks its digest and its
// signature. It touches no disk: a caller may learn from it what disk the image
// needs.
func FetchManifest(ctx context.Context, req Request) (*format.Manifest, error) {
	req.fill()
	l := &link{client: req.Client, limit: &limiter{rate: req.RateLimit}}
	m, err := fetchManifest(ctx, &req, l)
	return m, asProblem(ctx, err, req.name()+": manifest")
}

func fetchManifest(ctx context.Context, req *Request, l *link) (*format.Manifest, error) {
	var r retrier
	for {
		raw, err := readManifest(ctx, req.Image.ManifestURL, l)
		if err == nil {
			return checkManifest(req, raw)
		}
		if err := r.again(ctx, err, l.fetched.Load()); err != nil {
			return nil, err
		}
		req.Log.Warn("manifest interrupted, trying again", "url", req.Image.ManifestURL, "err", err)
	}
}

func readManifest(ctx context.Context, url string, l *link) ([]byte, error) {
	res, err := l.get(ctx, url, 0, 0)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, format.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > format.MaxManifest {
		return nil, problem("image-digest", false, "%s is larger than a manifest may be, %d bytes", url, format.MaxManifest)
	}
	return raw, nil
}

func checkManifest(req *Request, raw []byte) (*format.Manifest, error) {
	if got := format.Sum(raw).String(); got != req.Image.ManifestDigest {
		return nil, fmt.Errorf("%w: the manifest is %s, not %s", format.ErrDigest, got, req.Image.ManifestDigest)
	}
	m, err := format.Parse(raw)
	if err != nil {
		return nil, err
	}
	return m, m.SignedBy(req.Image.PublicKeys)
}
