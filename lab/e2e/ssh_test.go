//go:build qemu

package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/lab/client"
)

// login is a key that a test asks to be let in with.
type login struct {
	signer ssh.Signer
	public string // authorized_keys form
}

func newLogin(t *testing.T) login {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return login{signer, string(ssh.MarshalAuthorizedKey(signer.PublicKey()))}
}

// shell runs a command on a machine as the user of the deployment and returns
// what it printed. The machine has to prove one of the host keys that the
// appliance recorded, and to let the test's key in.
func (p *pod) shell(t *testing.T, m client.Machine, command string) string {
	t.Helper()
	return p.insist(t, m, func(ctx context.Context) (string, error) {
		if m.Server == nil || len(m.Server.HostKeys) == 0 {
			return "", fmt.Errorf("the appliance recorded no host key of %s", m.ID)
		}
		config := &ssh.ClientConfig{User: "admin"}
		var known []string
		for _, line := range m.Server.HostKeys {
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
			if err != nil {
				return "", err
			}
			known = append(known, ssh.FingerprintSHA256(key))
			config.HostKeyAlgorithms = append(config.HostKeyAlgorithms, key.Type())
		}
		config.HostKeyCallback = isOneOf(known)
		return p.shellOnce(ctx, m, config, command)
	})
}

// isOneOf lets a server in that proves one of the keys.
func isOneOf(fingerprints []string) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if got := ssh.FingerprintSHA256(key); !slices.Contains(fingerprints, got) {
			return fmt.Errorf("host key %s is not one of %q, which the appliance recorded", got, fingerprints)
		}
		return nil
	}
}

// insist repeats a login until it works, for a while.
func (p *pod) insist(t *testing.T, m client.Machine, login func(context.Context) (string, error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sshWithin)
	defer cancel()
	for {
		out, err := login(ctx)
		if err == nil {
			return strings.TrimSpace(out)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("ssh to %s (%s): %v; its console ends with:\n%s", m.Address, m.ID, err, lastLines(p.Machine(m.ID).Console().Text(), 15))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sshWithin bounds the wait for an SSH server that is up or comes up.
const sshWithin = 3 * time.Minute

// shellOnce logs in once with the test's key.
func (p *pod) shellOnce(ctx context.Context, m client.Machine, config *ssh.ClientConfig, command string) (string, error) {
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(p.login.signer)}
	address := net.JoinHostPort(m.Address.String(), "22")
	dial, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := p.Dial(dial, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.CombinedOutput(command)
	if err != nil {
		err = fmt.Errorf("%q: %w: %s", command, err, out)
	}
	return string(out), err
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
