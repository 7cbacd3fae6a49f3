package rescue

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newSigner(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

func TestOnlyTheKeysLogInAndCommandsRun(t *testing.T) {
	mine, line := newSigner(t)
	other, _ := newSigner(t)
	s, err := New([]string{line}, "/bin/sh", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go s.Serve(l)
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey()))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(user string, k ssh.Signer) (*ssh.Client, error) {
		return ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(k)}, HostKeyCallback: ssh.FixedHostKey(host)})
	}
	if _, err := dial("root", other); err == nil {
		t.Error("another key logged in")
	}
	if _, err := dial("admin", mine); err == nil {
		t.Error("another user logged in")
	}
	c, err := dial("root", mine)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, pty := range []bool{false, true} {
		ses, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if pty {
			if err := ses.RequestPty("xterm", 25, 80, ssh.TerminalModes{}); err != nil {
				t.Fatal(err)
			}
		}
		out, err := ses.CombinedOutput("echo hello; if [ -t 1 ]; then echo tty; fi; exit 7")
		var exit *ssh.ExitError
		if !errors.As(err, &exit) || exit.ExitStatus() != 7 || !strings.Contains(string(out), "hello") || strings.Contains(string(out), "tty") != pty {
			t.Errorf("pty %v: %q, %v", pty, out, err)
		}
	}
	if _, err := New(nil, "/bin/sh", nil); err == nil {
		t.Error("a server that nobody may log in to")
	}
}
