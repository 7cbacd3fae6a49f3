// Package client asks an appliance over its local API, as the lab's tests and
// its soak do: through its Unix socket, in JSON, with types of its own that hold
// only what they look at. It repeats nothing by itself but what says so, since
// a test has to see what failed.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Client asks one appliance. It is safe for concurrent use.
type Client struct{ http *http.Client }

// New makes a client of the appliance whose API's Unix socket is at path.
func New(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16}}}
}

// Refused is the appliance's answer that it will not (RFC 9457).
type Refused struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// Error implements error.
func (r *Refused) Error() string { return fmt.Sprintf("HTTP status %d: %s", r.Status, r.Detail) }

// Call sends in as JSON, unless it is nil, and decodes the answer into out,
// unless that is nil. The error is a *Refused if the appliance answered with
// one.
func (c *Client) Call(ctx context.Context, method, path string, in, out any, header ...string) error {
	b, err := c.send(ctx, method, path, in, header)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// send is Call, but for the decoding.
func (c *Client) send(ctx context.Context, method, path string, in any, header []string) ([]byte, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://gantry"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode/100 != 2 {
		refused := &Refused{Status: res.StatusCode, Detail: string(b)}
		_ = json.Unmarshal(b, refused) // or the body as it is
		return nil, fmt.Errorf("%s %s: %w", method, path, refused)
	}
	return b, nil
}

// every is how often what is waited for is looked at.
const every = 20 * time.Millisecond

// Ready waits until the appliance answers, or ctx ends.
func (c *Client) Ready(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		err := c.Call(ctx, http.MethodGet, "/readyz", nil, nil)
		if err != nil && ctx.Err() != nil {
			return false, err
		}
		return err == nil, nil
	})
}

// Machine returns one machine.
func (c *Client) Machine(ctx context.Context, id string) (m Machine, err error) {
	return m, c.Call(ctx, http.MethodGet, "/v1/machines/"+url.PathEscape(id), nil, &m)
}

// Machines returns all machines.
func (c *Client) Machines(ctx context.Context) (all []Machine, err error) {
	return all, c.Call(ctx, http.MethodGet, "/v1/machines", nil, &all)
}

// Log returns the last lines of a machine's own log.
func (c *Client) Log(ctx context.Context, machine string, lines int) (string, error) {
	b, err := c.send(ctx, http.MethodGet, fmt.Sprintf("/v1/machines/%s/log?tail=%d", machine, lines), nil, nil)
	return string(b), err
}

// Submit asks for a change of a machine. Repeating it with the same key is the
// same request; key may be empty.
func (c *Client) Submit(ctx context.Context, machine, verb string, spec any, key string) (r Request, err error) {
	path := "/v1/machines/" + url.PathEscape(machine) + "/" + verb
	return r, c.Call(ctx, http.MethodPost, path, spec, &r, "Idempotency-Key", key)
}

// Request returns one change request.
func (c *Client) Request(ctx context.Context, id string) (r Request, err error) {
	return r, c.Call(ctx, http.MethodGet, "/v1/requests/"+url.PathEscape(id), nil, &r)
}

// Requests returns the newest change requests, at most limit, of one machine
// unless that is empty.
func (c *Client) Requests(ctx context.Context, machine string, limit int) (all []Request, err error) {
	path := fmt.Sprintf("/v1/requests?limit=%d&machine=%s", limit, url.QueryEscape(machine))
	return all, c.Call(ctx, http.MethodGet, path, nil, &all)
}

// Cancel asks a change request to stop.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.Call(ctx, http.MethodPost, "/v1/requests/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// Alerts returns the alerts that nobody has resolved.
func (c *Client) Alerts(ctx context.Context) (all []Alert, err error) {
	return all, c.Call(ctx, http.MethodGet, "/v1/alerts", nil, &all)
}

// Import puts the file at path into the library.
func (c *Client) Import(ctx context.Context, path, name, version string) (img Image, err error) {
	in := map[string]string{"path": path, "name": name, "version": version}
	return img, c.Call(ctx, http.MethodPost, "/v1/images", in, &img)
}

// Wait waits until a change request has ended, through deaths of the appliance,
// and returns it. see, if not nil, is told of the request each time that it is
// looked at.
func (c *Client) Wait(ctx context.Context, id string, see func(Request)) (r Request, err error) {
	err = poll(ctx, func() (bool, error) {
		now, err := c.Request(ctx, id)
		if err != nil {
			return false, lasting(ctx, err)
		}
		r = now
		if see != nil {
			see(r)
		}
		return r.Ended(), nil
	})
	if err != nil {
		return r, fmt.Errorf("wait for request %s (%s of %s is %s): %w", id, r.Kind, r.Machine, r.Status, err)
	}
	return r, nil
}

// Settled waits until no request has the machine, and returns it.
func (c *Client) Settled(ctx context.Context, id string) (m Machine, err error) {
	err = poll(ctx, func() (bool, error) {
		now, err := c.Machine(ctx, id)
		if err != nil {
			return false, lasting(ctx, err)
		}
		m = now
		return m.Lock == "", nil
	})
	if err != nil {
		return m, fmt.Errorf("machine %s is %s and request %s has it: %w", id, m.Status.State, m.Lock, err)
	}
	return m, nil
}

// lasting is err unless it may pass: the appliance is away for a while when a
// test kills it.
func lasting(ctx context.Context, err error) error {
	var refused *Refused
	if ctx.Err() != nil || errors.As(err, &refused) {
		return err
	}
	return nil
}

// poll calls done until it says so, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}
