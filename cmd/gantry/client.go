package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// client speaks to an appliance's API.
type client struct {
	http  *http.Client
	base  string
	token string
	where string // for messages
}

// serverHelp is the part of the help text that says how an appliance is reached.
const serverHelp = `The appliance is reached by its Unix socket, or by its URL with a token in the
environment's GANTRY_TOKEN. The token is sent over https and to this computer only.`

// newClient makes a client of the appliance that the global flags name. Over
// TLS the token comes from the environment, GANTRY_TOKEN.
func (a *app) newClient() (*client, error) {
	if a.server == "" {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
		}
		return &client{base: "http://gantry", where: a.socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
	}
	u, err := url.Parse(a.server)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, withCode(exitUsage, fmt.Errorf("--server %q: want a URL such as https://appliance.example:7443", a.server))
	}
	c := &client{base: strings.TrimSuffix(a.server, "/"), token: os.Getenv("GANTRY_TOKEN"), where: a.server}
	if c.token != "" && u.Scheme != "https" && !loopback(u.Hostname()) {
		return nil, withCode(exitUsage, fmt.Errorf("%s: GANTRY_TOKEN is not sent in clear over a network; use https", a.server))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.caFile != "" {
		if config.RootCAs, err = authorities(a.caFile); err != nil {
			return nil, withCode(exitUsage, err)
		}
	}
	// What redirects would lead elsewhere with the token; the API has none.
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// loopback says whether a host is this computer.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// authorities are the system's certificates and those of a file.
func authorities(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca-file %s: there is no PEM certificate in it", path)
	}
	return pool, nil
}

// call is [client.call] with a client of the appliance that the flags name.
func (a *app) call(ctx context.Context, method, path string, body, out any, header ...string) error {
	c, err := a.newClient()
	if err != nil {
		return err
	}
	return c.call(ctx, method, path, body, out, header...)
}

// problem is an RFC 9457 problem as the API sends it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// call sends body as JSON, unless it is nil or a reader, and decodes the answer
// into out unless that is nil.
func (c *client) call(ctx context.Context, method, path string, body, out any, header ...string) error {
	resp, err := c.open(ctx, method, path, body, header...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: the appliance's answer: %w", method, path, err)
	}
	return nil
}

// open is call without reading the answer; the caller closes its body.
func (c *client) open(ctx context.Context, method, path string, body any, header ...string) (*http.Response, error) {
	var r io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r, contentType = b, "application/octet-stream"
	default:
		j, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// unreachable says what to do when the appliance does not answer.
func (c *client) unreachable(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EACCES):
		return withCode(exitRefused, fmt.Errorf("no permission to use %s: run as root or join the group that owns it", c.where))
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return withCode(exitUnreachable, fmt.Errorf("no appliance answers at %s: start gantry-appliance, or name its socket with --socket (the lab's is printed by: gantry lab status)", c.where))
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return withCode(exitUnreachable, fmt.Errorf("appliance at %s: its certificate is signed by nobody that this computer trusts; name the authority's file with --ca-file: %w", c.where, err))
	}
	return withCode(exitUnreachable, fmt.Errorf("appliance at %s: %w", c.where, err))
}

func refusal(resp *http.Response) error {
	var p problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(b, &p) != nil || p.Detail == "" {
		p.Detail = fmt.Sprintf("the appliance answered %s: %s", resp.Status, bytes.TrimSpace(b))
	}
	for _, e := range p.Errors {
		p.Detail += fmt.Sprintf("; %s: %s", strings.TrimPrefix(e.Location, "body."), e.Message)
	}
	code := exitFailed
	switch resp.StatusCode {
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusConflict, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		code = exitRefused
	}
	return withCode(code, errors.New(p.Detail))
}
