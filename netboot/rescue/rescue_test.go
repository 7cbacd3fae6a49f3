package rescue

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

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
	for _, pty := range []bool{false, true} {
		pid := startAndDrop(t, func() (*ssh.Client, error) { return dial("root", mine) }, pty)
		if !gone(t, pid) {
			t.Errorf("pty %v: what a dropped connection started goes on", pty)
		}
	}
	if _, err := New(nil, "/bin/sh", nil); err == nil {
		t.Error("a server that nobody may log in to")
	}
}

// startAndDrop starts a command that goes on, drops its connection, and returns
// the command's process ID.
func startAndDrop(t *testing.T, dial func() (*ssh.Client, error), pty bool) string {
	t.Helper()
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ses, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if pty {
		if err := ses.RequestPty("xterm", 25, 80, ssh.TerminalModes{}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := ses.StdoutPipe()
	if err == nil {
		err = ses.Start("echo $$; exec sleep 3600")
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// gone waits until there is no such process.
func gone(t *testing.T, pid string) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}
