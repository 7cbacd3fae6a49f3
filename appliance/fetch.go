package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/gantry-pod/gantry/appliance/api"
)

// checkSource says why a path of the appliance is not read as an image. A disk
// is read only if that is what was asked for: it may be the appliance's own, with
// every secret on it.
func checkSource(path string, device bool) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("import: %w: %w", err, api.ErrBadInput)
	case st.Mode().IsRegular():
		return nil
	case st.Mode()&fs.ModeDevice == 0:
		return fmt.Errorf("import %s: it is neither a file nor a disk: %w", path, api.ErrBadInput)
	case !device:
		return fmt.Errorf("import %s: it is a disk, which is read only if that is asked for (device): %w", path, api.ErrBadInput)
	}
	return nil
}

// errNear says that a URL leads to where only the appliance itself may look.
var errNear = errors.New("the URL leads to a loopback or link-local address, which nobody may have the appliance read (images.local_urls allows it)")

// farAway refuses connections to the appliance itself and to its link's own
// services, such as a cloud's metadata, once names are resolved.
func farAway(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address", address)
	}
	if a := ap.Addr().Unmap(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return errNear
	}
	return nil
}

// newFetcher is the client that images are fetched with. Their transfer may take
// as long as it needs.
func newFetcher(local bool) *http.Client {
	d := &net.Dialer{Timeout: 30 * time.Second}
	if !local {
		d.Control = farAway
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext, t.ResponseHeaderTimeout = d.DialContext, time.Minute
	return &http.Client{Transport: t}
}

// fetch opens what is at a URL.
func fetch(ctx context.Context, c *http.Client, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("import: %w: %w", err, api.ErrBadInput)
	}
	req.Header.Set("Accept-Encoding", "identity") // as it is, to be compared with its checksum
	res, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("import: %w: %w", err, api.ErrBadInput)
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("import %s: the server answers %s: %w", url, res.Status, api.ErrBadInput), res.Body.Close())
	}
	return res.Body, nil
}
