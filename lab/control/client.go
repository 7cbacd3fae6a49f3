package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"github.com/gantry-pod/gantry/lab"
)

// ErrDown is returned when no lab of that name is up.
var ErrDown = errors.New("the lab is not up")

// Client asks the supervisor of one lab. Its methods may be called from any
// goroutine; ctx bounds each.
type Client struct {
	name string
	http http.Client
}

// NewClient returns a client of the lab of that name. It connects with each
// call.
func NewClient(name string) *Client {
	c := NewClientAt(lab.ControlSocket(name))
	c.name = name
	return c
}

// NewClientAt returns a client of the lab with that control socket.
func NewClientAt(socket string) *Client {
	return &Client{name: "at " + socket, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Status returns what the lab is doing.
func (c *Client) Status(ctx context.Context) (s lab.Status, err error) {
	err = c.call(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// Down asks the supervisor to take the lab down. It returns before that is done;
// see [lab.Sweep].
func (c *Client) Down(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/down", nil, nil)
}

// SetOutlet switches an outlet by the PDU's button.
func (c *Client) SetOutlet(ctx context.Context, number int, on bool) error {
	return c.call(ctx, http.MethodPost, "/outlets/"+strconv.Itoa(number), Switch{On: on}, nil)
}

// SetPlugged pulls a machine's network cables or puts them back.
func (c *Client) SetPlugged(ctx context.Context, machine string, plugged bool) error {
	return c.call(ctx, http.MethodPost, "/machines/"+url.PathEscape(machine)+"/plugged", Switch{On: plugged}, nil)
}

// KillMachine kills a machine's QEMU and leaves its power on.
func (c *Client) KillMachine(ctx context.Context, machine string) error {
	return c.call(ctx, http.MethodPost, "/machines/"+url.PathEscape(machine)+"/kill", nil, nil)
}

// Break brings a fault into force.
func (c *Client) Break(ctx context.Context, f lab.Fault) error {
	return c.call(ctx, http.MethodPost, "/faults", f, nil)
}

// Mend ends all faults.
func (c *Client) Mend(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Appliance does "start", "restart" or "kill" to the appliance.
func (c *Client) Appliance(ctx context.Context, action string) error {
	return c.call(ctx, http.MethodPost, "/appliance/"+url.PathEscape(action), nil, nil)
}

// call makes one request. It returns [ErrDown] if nobody listens, and a
// [*RemoteError] if the lab refuses.
func (c *Client) call(ctx context.Context, method, path string, body, result any) error {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, text)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("lab %s: %w", c.name, ErrDown)
	}
	if err != nil {
		return fmt.Errorf("lab %s: %w", c.name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("lab %s: %s %s: %w", c.name, method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p Problem
		_ = json.Unmarshal(answer, &p) // without one, the status says it
		return &RemoteError{Status: resp.StatusCode, Detail: p.Detail}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("lab %s: %s %s: answer: %w", c.name, method, path, err)
	}
	return nil
}
