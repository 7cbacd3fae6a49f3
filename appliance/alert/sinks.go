package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"strings"
	"time"
)

// Webhook posts alerts as JSON. If Key is set, the body's HMAC-SHA256 is in the
// header Gantry-Signature as "sha256=HEX".
type Webhook struct {
	URL    string
	Key    string
	Client *http.Client
}

// Name implements Sink.
func (w *Webhook) Name() string { return "webhook" }

// Send implements Sink. Any answer but 2xx is a failure.
func (w *Webhook) Send(ctx context.Context, a Alert) error {
	a.Pending = nil
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if w.Key != "" {
		mac := hmac.New(sha256.New, []byte(w.Key))
		mac.Write(body)
		req.Header.Set("Gantry-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		// Without the URL, which is often a secret: this is logged and shown.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 4096); err != nil && err != io.EOF {
		return fmt.Errorf("webhook: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: it answered %s", resp.Status)
	}
	return nil
}

// Mail sends alerts by SMTP (RFC 5321), with STARTTLS where the server offers
// it. User and Password are used only over TLS or to the loopback address.
type Mail struct {
	Server, From   string
	To             []string
	User, Password string
	Pod            string
}

// Name implements Sink.
func (m *Mail) Name() string { return "smtp" }

// Send implements Sink.
func (m *Mail) Send(ctx context.Context, a Alert) error {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return fmt.Errorf("smtp server %q: %w", m.Server, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return fmt.Errorf("smtp: %w", errors.Join(err, context.Cause(ctx)))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // a server that hangs holds nobody
	if err := m.deliver(conn, host, a); err != nil {
		return fmt.Errorf("smtp: %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// deliver speaks SMTP on conn.
func (m *Mail) deliver(conn net.Conn, host string, a Alert) error {
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}); err != nil {
			return err
		}
	}
	if m.User != "" {
		if err := c.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(m.From); err != nil {
		return err
	}
	for _, to := range m.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.message(a)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// message writes the mail (RFC 5322). Nothing from outside reaches a header but
// on one line.
func (m *Mail) message(a Alert) []byte {
	var b bytes.Buffer
	head := func(k, v string) {
		fmt.Fprintf(&b, "%s: %s\r\n", k, strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return ' '
			}
			return r
		}, v))
	}
	head("From", m.From)
	head("To", strings.Join(m.To, ", "))
	head("Subject", fmt.Sprintf("[gantry %s] %s: %s", m.Pod, a.Subject, a.Code))
	head("Date", a.Last.UTC().Format(time.RFC1123Z))
	head("Message-ID", fmt.Sprintf("<%s.%d@%s.gantry>", a.ID, a.Count, m.Pod))
	head("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(&b, "\r\n%s\r\n\r\nWhat to do: %s\r\nRequest: %s\r\nSeen %d times, first %s.\r\n",
		a.Detail, a.Action, a.Request, a.Count, a.First.UTC().Format(time.RFC3339))
	return b.Bytes()
}
