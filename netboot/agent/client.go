package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Client speaks the protocol of netboot/job to the appliance. Its calls repeat
// over a bad link until ctx ends or the appliance refuses. It is safe for
// concurrent use.
type Client struct {
	server string
	token  atomic.Pointer[string]
	http   *http.Client
	log    *slog.Logger
}

// Bounds of one try. A long poll is answered within about 20 s.
const (
	dialTimeout = 5 * time.Second
	callTimeout = 20 * time.Second
	pollTimeout = 45 * time.Second
	firstDelay  = 100 * time.Millisecond
	lastDelay   = 5 * time.Second
	maxAnswer   = 8 << 20
)

// NewClient makes a client of the appliance at server that authenticates with
// token.
func NewClient(server, token string, log *slog.Logger) *Client {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}
	c := &Client{
		server: server, log: log,
		http: &http.Client{Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}},
	}
	c.token.Store(&token)
	return c
}

// Refused is an answer that repeating the call does not change.
type Refused struct {
	Status int
	Detail string
}

// Error implements error.
func (r *Refused) Error() string { return fmt.Sprintf("HTTP status %d: %s", r.Status, r.Detail) }

// Hello spends the boot token; the client uses the session's from then on. It
// returns the appliance's clock too, zero if it gave none.
func (c *Client) Hello(ctx context.Context, h job.Hello) (job.Welcome, time.Time, error) {
	var w job.Welcome
	date, err := c.call(ctx, callTimeout, http.MethodPost, "/agent/v1/hello", h, &w)
	if err != nil {
		return w, date, fmt.Errorf("hello: %w", err)
	}
	if w.Session == "" {
		return w, date, errors.New("hello: the appliance gave no session")
	}
	c.token.Store(&w.Session)
	return w, date, nil
}

// Next waits for a job other than after. It returns nil when there is none yet.
func (c *Client) Next(ctx context.Context, after string) (*job.Job, error) {
	var j job.Job
	_, err := c.call(ctx, pollTimeout, http.MethodGet, "/agent/v1/job?after="+url.QueryEscape(after), nil, &j)
	if err != nil {
		return nil, fmt.Errorf("ask for a job: %w", err)
	}
	if j.ID == "" {
		return nil, nil
	}
	return &j, nil
}

// Report sends one report.
func (c *Client) Report(ctx context.Context, id string, r job.Report) (job.Reply, error) {
	var reply job.Reply
	_, err := c.call(ctx, callTimeout, http.MethodPost, "/agent/v1/jobs/"+url.PathEscape(id)+"/report", r, &reply)
	if err != nil {
		return reply, fmt.Errorf("report to the appliance: %w", err)
	}
	return reply, nil
}

// Log sends lines of the agent's log.
func (c *Client) Log(ctx context.Context, lines []byte) error {
	_, err := c.call(ctx, callTimeout, http.MethodPost, "/agent/v1/log", lines, nil)
	if err != nil {
		return fmt.Errorf("send the log: %w", err)
	}
	return nil
}

// call repeats one call until it is answered, refused, or ctx ends.
func (c *Client) call(ctx context.Context, limit time.Duration, method, path string, in, out any) (time.Time, error) {
	kind, body, err := encode(in)
	if err != nil {
		return time.Time{}, err
	}
	delay := firstDelay
	for {
		date, err := c.once(ctx, limit, method, path, kind, body, out)
		var refused *Refused
		if err == nil || errors.As(err, &refused) {
			return date, err
		}
		c.log.Debug("call failed; trying again", "path", path, "err", err, "in", delay)
		select {
		case <-ctx.Done():
			return date, fmt.Errorf("%w; last failure: %w", context.Cause(ctx), err)
		case <-time.After(delay + rand.N(delay)):
		}
		delay = min(2*delay, lastDelay)
	}
}

func encode(in any) (kind string, body []byte, err error) {
	switch v := in.(type) {
	case nil:
		return "", nil, nil
	case []byte:
		return "text/plain; charset=utf-8", v, nil
	}
	body, err = json.Marshal(in)
	return "application/json", body, err
}

func (c *Client) once(ctx context.Context, limit time.Duration, method, path, kind string, body []byte, out any) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return time.Time{}, err
	}
	req.Header.Set("Authorization", "Bearer "+*c.token.Load())
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer res.Body.Close()
	date, _ := http.ParseTime(res.Header.Get("Date"))
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return date, err
	}
	return date, answer(res.StatusCode, b, out)
}

// answer decodes a success, and tells refusals from what may pass.
func answer(status int, b []byte, out any) error {
	switch {
	case status == http.StatusNoContent || (status == http.StatusOK && out == nil):
		return nil
	case status == http.StatusOK:
		return json.Unmarshal(b, out)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return fmt.Errorf("HTTP status %d", status)
	}
	var problem struct{ Title, Detail string }
	if json.Unmarshal(b, &problem) != nil || problem.Title+problem.Detail == "" {
		problem.Detail = http.StatusText(status)
	}
	return &Refused{Status: status, Detail: problem.Title + " " + problem.Detail}
}
