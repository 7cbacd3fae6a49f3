package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
)

// verify waits until the machine runs from its own disk and proves that it is
// the server that was put there: its SSH server holds the private half of a host
// key that was made on it while it was deployed (RFC 4253 section 8). A server
// without an SSH server is taken as running when its address answers on TCP.
func (a *Actuator) verify(ctx context.Context, run *change.Run) error {
	m, err := run.Machine(ctx)
	if err != nil {
		return err
	}
	if m.Server == nil {
		return nil // nothing was deployed here that could prove anything
	}
	address := net.JoinHostPort(m.Address.String(), "22")
	run.Say(change.Progress{Message: "waiting for the server at " + address})
	began := a.Now()
	var last error
	for {
		err := a.prove(ctx, &m, address)
		if err == nil {
			return nil
		}
		var wrong *wrongKeyError
		if errors.As(err, &wrong) {
			return &change.Problem{Code: "wrong-server", Detail: err.Error(), Person: true,
				Action: "another system answers on this machine's address: look at its console"}
		}
		if ctx.Err() == nil {
			last = err
			run.Say(change.Progress{Message: "not yet: " + err.Error()})
		}
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return &change.Problem{Code: "no-server", Person: true, Action: "look at the machine's console",
				Detail: fmt.Sprintf("the server on machine %s did not answer at %s within %s: %v", m.ID, address, a.Now().Sub(began).Round(time.Second), last)}
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// look waits for the server as verify does, no longer, and only notes what it
// found: the machine was switched as it was asked for, and what answers on a
// server that was handed over is for its user to say.
func (a *Actuator) look(ctx context.Context, run *change.Run) error {
	within, cancel := context.WithTimeout(ctx, min(a.Times.Verify, a.Times.Power))
	defer cancel()
	err := a.verify(within, run)
	var p *change.Problem
	if !errors.As(err, &p) {
		return err
	}
	run.Log.Info("the server did not prove itself", "code", p.Code, "detail", p.Detail)
	return run.Phase(ctx, p.Code)
}

// wrongKeyError says that a server showed a host key that is not its own.
type wrongKeyError struct{ address, key string }

func (e *wrongKeyError) Error() string {
	return fmt.Sprintf("the SSH server at %s has host key %s, which was not made on this machine", e.address, e.key)
}

// errProved ends a handshake once the host key is proved.
var errProved = errors.New("proved")

// prove asks the server at address for its proof once.
func (a *Actuator) prove(ctx context.Context, m *asset.Machine, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dialCtx, cancelDial := context.WithTimeout(ctx, 3*time.Second)
	defer cancelDial()
	conn, err := a.Dial(dialCtx, "tcp", address)
	if len(m.Server.HostKeys) == 0 {
		if err == nil {
			return conn.Close()
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // a server that hangs holds nobody
	return proveKey(conn, address, m.Server.HostKeys)
}

// proveKey runs an SSH handshake up to the point where the server has signed
// the exchange hash with its host key.
func proveKey(conn net.Conn, address string, hostKeys []string) error {
	var known []ssh.PublicKey
	var algorithms []string
	for _, line := range hostKeys { // those that it should have, first
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return fmt.Errorf("recorded host key: %w", err)
		}
		known = append(known, k)
		if k.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		}
		algorithms = append(algorithms, k.Type())
	}
	for _, other := range ssh.SupportedAlgorithms().HostKeys { // another system shows what it has
		if !slices.Contains(algorithms, other) {
			algorithms = append(algorithms, other)
		}
	}
	_, _, _, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User:              "gantry-verify",
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			for _, k := range known {
				if bytes.Equal(k.Marshal(), key.Marshal()) {
					return errProved
				}
			}
			return &wrongKeyError{address, ssh.FingerprintSHA256(key)}
		},
	})
	if errors.Is(err, errProved) {
		return nil
	}
	if err == nil {
		return errors.New("the SSH server let an unknown user in")
	}
	return err
}
