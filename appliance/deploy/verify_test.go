package deploy

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/asset"
)

// sshd is an SSH server on the loopback that shows the given host keys.
func sshd(t *testing.T, keys ...ssh.Signer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			config := &ssh.ServerConfig{NoClientAuth: false, PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errOff }}
			for _, k := range keys {
				config.AddHostKey(k)
			}
			_, _, _, _ = ssh.NewServerConn(c, config)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func rsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProve asks real SSH servers for their proof.
func TestProve(t *testing.T) {
	ed, other, r := hostKey(1), hostKey(2), rsaKey(t)
	for name, c := range map[string]struct {
		has, recorded []ssh.Signer
		want          string // of the error; "" is proved
		wrong         bool
	}{
		"its key":             {[]ssh.Signer{ed}, []ssh.Signer{ed}, "", false},
		"one of its keys":     {[]ssh.Signer{r, ed}, []ssh.Signer{other, ed}, "", false},
		"RSA by SHA-2":        {[]ssh.Signer{r}, []ssh.Signer{r}, "", false},
		"another key":         {[]ssh.Signer{other}, []ssh.Signer{ed}, ssh.FingerprintSHA256(other.PublicKey()), true},
		"another kind of key": {[]ssh.Signer{r}, []ssh.Signer{ed}, ssh.FingerprintSHA256(r.PublicKey()), true},
	} {
		t.Run(name, func(t *testing.T) {
			m := asset.Machine{ID: "m1", Server: &asset.Server{}}
			for _, k := range c.recorded {
				m.Server.HostKeys = append(m.Server.HostKeys, publicKey(k)+" root@m1")
			}
			a := &Actuator{Dial: (&net.Dialer{}).DialContext}
			err := a.prove(t.Context(), &m, sshd(t, c.has...))
			var wrong *wrongKeyError
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.As(err, &wrong) != c.wrong {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestProveWithoutSSH: a server whose keys nobody recorded is there when its
// address answers, if only to refuse.
func TestProveWithoutSSH(t *testing.T) {
	m := asset.Machine{ID: "m1", Server: &asset.Server{}}
	a := &Actuator{Dial: (&net.Dialer{}).DialContext}
	address := sshd(t, hostKey(1))
	if err := a.prove(t.Context(), &m, address); err != nil {
		t.Errorf("with a server: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := a.prove(t.Context(), &m, l.Addr().String()); err != nil {
		t.Errorf("with a host that refuses: %v", err)
	}
	m.Server.HostKeys = []string{publicKey(hostKey(1))}
	if err := a.prove(t.Context(), &m, l.Addr().String()); err == nil {
		t.Error("a host that refuses proved its key")
	}
	m.Server.HostKeys = []string{"no key"}
	if err := a.prove(t.Context(), &m, address); err == nil || !strings.Contains(err.Error(), "recorded host key") {
		t.Errorf("with a broken record: %v", err)
	}
}

// TestProveStops: a server that takes the connection and says nothing holds the
// appliance no longer than the appliance wants.
func TestProveStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	m := asset.Machine{ID: "m1", Server: &asset.Server{HostKeys: []string{publicKey(hostKey(1))}}}
	a := &Actuator{Dial: (&net.Dialer{}).DialContext}
	done := make(chan error, 1)
	go func() { done <- a.prove(ctx, &m, l.Addr().String()) }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("proved")
		}
	case <-time.After(10 * time.Second):
		t.Error("still waiting for the server")
	}
}
