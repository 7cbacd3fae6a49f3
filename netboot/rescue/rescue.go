// Package rescue is an SSH server (RFC 4251 to 4254) that gives the holders of
// some keys a root shell in the netboot system, to repair a machine whose disk
// does not boot. It has a host key of its own for each start, no passwords and
// no forwarding.
package rescue

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server serves shells. It is safe for concurrent use.
type Server struct {
	config *ssh.ServerConfig
	signer ssh.Signer
	shell  string
	log    *slog.Logger
}

// New makes a server for the authorized_keys lines; at least one is needed.
func New(keys []string, shell string, log *slog.Logger) (*Server, error) {
	allowed := map[string]bool{}
	for i, k := range keys {
		pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k))
		if err != nil {
			return nil, fmt.Errorf("SSH key %d: %w", i+1, err)
		}
		allowed[string(pub.Marshal())] = true
	}
	if len(allowed) == 0 {
		return nil, errors.New("no SSH key may log in")
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	c := &ssh.ServerConfig{MaxAuthTries: 6, PublicKeyCallback: func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if m.User() != "root" || !allowed[string(k.Marshal())] {
			return nil, fmt.Errorf("key %s may not log in as %q", ssh.FingerprintSHA256(k), m.User())
		}
		return &ssh.Permissions{}, nil
	}}
	c.AddHostKey(signer)
	return &Server{config: c, signer: signer, shell: shell, log: log}, nil
}

// HostKey is the server's public key in authorized_keys form.
func (s *Server) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.signer.PublicKey())))
}

const handshakeTime = 20 * time.Second

// Serve takes connections until l is closed.
func (s *Server) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors
			continue
		}
		go s.connection(c)
	}
}

func (s *Server) connection(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(handshakeTime))
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		s.log.Info("a login was refused", "from", c.RemoteAddr().String(), "err", err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	s.log.Info("a login", "from", c.RemoteAddr().String(), "user", conn.User())
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, reqs, err := ch.Accept()
		if err != nil {
			return
		}
		go s.session(channel, reqs)
	}
}
