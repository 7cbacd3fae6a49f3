package alert

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

var sample = Alert{ID: "01J", Code: "outlet", Subject: "machine/m1", Detail: "outlet 1 of p1 is unknown", Action: "look at it", Request: "r1",
	Count: 2, First: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Last: time.Date(2026, 11, 21, 12, 30, 0, 0, time.UTC),
	Pending: []Delivery{{Sink: "webhook", Error: "internal matter"}}}

func TestWebhook(t *testing.T) {
	const key = "k3y"
	var body []byte
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	hook := &Webhook{URL: server.URL, Key: key, Client: server.Client()}
	if err := hook.Send(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	if got, want := header.Get("Gantry-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
	var got Alert
	if err := json.Unmarshal(body, &got); err != nil || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %s, %v", header.Get("Content-Type"), body, err)
	}
	if got.ID != sample.ID || got.Code != sample.Code || got.Detail != sample.Detail || got.Count != 2 || strings.Contains(string(body), "internal matter") {
		t.Errorf("posted %s", body)
	}
	hook.Key = ""
	if err := hook.Send(t.Context(), sample); err != nil || header.Get("Gantry-Signature") != "" {
		t.Errorf("without a key: signature %q, %v", header.Get("Gantry-Signature"), err)
	}
}

// TestWebhookFails: any answer but success is a failure, and no failure shows
// the URL, which is a secret of the receiver's.
func TestWebhookFails(t *testing.T) {
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	hook := &Webhook{URL: server.URL + "/s3cret", Client: server.Client()}
	for code, ok := range map[int]bool{200: true, 204: true, 302: false, 400: false, 404: false, 500: false} {
		status = code
		if err := hook.Send(t.Context(), sample); (err == nil) != ok || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("answered %d: %v", code, err)
		}
	}
	server.Close()
	err := hook.Send(t.Context(), sample)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("with nobody there: %v", err)
	}
	hook.URL = "http://\x7f"
	if err := hook.Send(t.Context(), sample); err == nil {
		t.Error("posted to no URL")
	}
}

// smtpServer takes one mail (RFC 5321) and gives it to got.
type smtpServer struct {
	net.Listener
	auth bool
	got  chan envelope
}

type envelope struct {
	auth, from string
	to         []string
	data       string
}

func newSMTPServer(t *testing.T, auth bool) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpServer{Listener: l, auth: auth, got: make(chan envelope, 1)}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { l.Close(); <-done })
	return s
}

func (s *smtpServer) serve() {
	c, err := s.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	var e envelope
	tp := textproto.NewConn(c)
	say := func(line string) { _ = tp.PrintfLine("%s", line) }
	say("220 test")
	for {
		line, err := tp.ReadLine()
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			if s.auth {
				say("250-test")
				say("250 AUTH PLAIN")
			} else {
				say("250 test")
			}
		case "AUTH":
			e.auth = arg
			say("235 ok")
		case "MAIL":
			e.from = arg
			say("250 ok")
		case "RCPT":
			if strings.Contains(arg, "nobody") {
				say("550 no such user")
				continue
			}
			e.to = append(e.to, arg)
			say("250 ok")
		case "DATA":
			say("354 go on")
			b, _ := io.ReadAll(tp.DotReader())
			e.data = string(b)
			say("250 ok")
		case "QUIT":
			say("221 bye")
			s.got <- e
			return
		}
	}
}

func (s *smtpServer) mail() *Mail {
	return &Mail{Server: s.Addr().String(), From: "gantry@pod.example", To: []string{"ann@example.com", "bob@example.com"}, Pod: "pod1"}
}

func TestMail(t *testing.T) {
	s := newSMTPServer(t, true)
	m := s.mail()
	m.User, m.Password = "u", "p"
	a := sample
	a.Detail = "first\n.\nMAIL FROM:<x>\nüñ"
	if err := m.Send(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	e := <-s.got
	if e.auth != "PLAIN AHUAcA==" || !strings.HasPrefix(e.from, "FROM:<gantry@pod.example>") || !slices.Equal(e.to, []string{"TO:<ann@example.com>", "TO:<bob@example.com>"}) {
		t.Errorf("envelope %+v", e)
	}
	msg, err := mail.ReadMessage(strings.NewReader(e.data))
	if err != nil {
		t.Fatal(err)
	}
	if s := msg.Header.Get("Subject"); s != "[gantry pod1] machine/m1: outlet" {
		t.Errorf("subject %q", s)
	}
	if d, err := msg.Header.Date(); err != nil || !d.Equal(a.Last) {
		t.Errorf("date %v, %v", d, err)
	}
	if kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type")); err != nil || kind != "text/plain" || params["charset"] != "utf-8" {
		t.Errorf("content type %q", msg.Header.Get("Content-Type"))
	}
	body, _ := io.ReadAll(msg.Body)
	for _, want := range []string{"first\n.\nMAIL FROM:<x>\nüñ", "What to do: look at it", "Request: r1", "Seen 2 times"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("body %q does not say %q", body, want)
		}
	}
}

// TestMailHeaders: nothing that an alert carries makes another header or ends
// the headers.
func TestMailHeaders(t *testing.T) {
	for _, evil := range []string{"x\r\nBcc: all@example.com", "x\nBcc: all@example.com", "x\r\n\r\nbody", "x\x00\x1b\u2028y"} {
		a := sample
		a.Subject, a.Code, a.ID = evil, evil, evil
		m := &Mail{From: "gantry@pod.example", To: []string{"ann@example.com"}, Pod: "pod1"}
		msg, err := mail.ReadMessage(strings.NewReader(string(m.message(a))))
		if err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
		var names []string
		for k := range msg.Header {
			names = append(names, k)
		}
		slices.Sort(names)
		if want := []string{"Content-Type", "Date", "From", "Message-Id", "Subject", "To"}; !slices.Equal(names, want) {
			t.Errorf("%q: headers %v", evil, names)
		}
	}
}

func TestMailFails(t *testing.T) {
	s := newSMTPServer(t, false)
	m := s.mail()
	m.To = []string{"nobody@example.com"}
	if err := m.Send(t.Context(), sample); err == nil || !strings.Contains(err.Error(), "550") {
		t.Errorf("a recipient that is refused: %v", err)
	}
	for _, server := range []string{"", "mail.example", "127.0.0.1:0"} {
		if err := (&Mail{Server: server}).Send(t.Context(), sample); err == nil {
			t.Errorf("sent through %q", server)
		}
	}
	s = newSMTPServer(t, false)
	m = s.mail()
	m.From = "gantry@pod.example>\r\nRCPT TO:<all@example.com"
	if err := m.Send(t.Context(), sample); err == nil {
		t.Error("sent with commands in the sender")
	}
}

// TestMailServerHangs: a server that takes the connection and says nothing costs
// the time that the caller gives it.
func TestMailServerHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("long enough")
	sent := make(chan error, 1)
	go func() { sent <- (&Mail{Server: l.Addr().String(), From: "a@b", To: []string{"c@d"}}).Send(ctx, sample) }()
	c := <-accepted
	defer c.Close()
	cancel(why)
	if err := <-sent; !errors.Is(err, why) {
		t.Errorf("ended with %v", err)
	}
	if _, err := bufio.NewReader(c).ReadByte(); err == nil {
		t.Error("the connection is still open")
	}
}
