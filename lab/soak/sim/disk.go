package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
)

// System is what a deployment leaves on a disk, behind the image, where a real
// one has its file system's files: who this server is.
type System struct {
	// Instance is the deployment.
	Instance, Hostname string
	// Key is the seed of its SSH host key.
	Key []byte
}

// systemAt is how far from a disk's end the system's block is; it is within the
// last mebibyte, which a writer clears first.
const systemAt = 64 << 10

// ReadSystem reads the system on a disk; nil if there is none.
func ReadSystem(disk string) (*System, error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(-systemAt, io.SeekEnd); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil, nil
	}
	var s System
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: half a system: %w", disk, err)
	}
	return &s, nil
}

// writeSystem puts a system on a disk, durably.
func writeSystem(disk string, size int64, s System) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, size-systemAt)
	return errors.Join(err, f.Sync(), f.Close())
}

// signer is the system's SSH host key.
func (s *System) signer() (ssh.Signer, error) {
	if len(s.Key) != ed25519.SeedSize {
		return nil, fmt.Errorf("instance %s has a host key of %d bytes", s.Instance, len(s.Key))
	}
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(s.Key))
}

// startDisk starts the system on the disk, which runs until power is cut.
func (m *machine) startDisk(ctx context.Context, told time.Time) error {
	s, err := ReadSystem(m.spec.Disk)
	if err != nil {
		return err
	}
	if s == nil {
		m.tell(Event{At: told, What: EmptyDisk})
		return errHalt
	}
	m.tell(Event{At: told, What: StartedDisk, Instance: s.Instance})
	m.pause(ctx, 300*time.Millisecond)
	signer, err := s.signer()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", ":22")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go greet(conn, signer)
	}
}

// greet shows a caller the host key and lets nobody in.
func greet(conn net.Conn, signer ssh.Signer) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return nil, errors.New("nobody is let in")
	}}
	config.AddHostKey(signer)
	_, _, _, _ = ssh.NewServerConn(conn, config) // it always fails, after the key exchange
}
