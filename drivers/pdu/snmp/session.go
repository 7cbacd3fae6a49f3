package snmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

// maxVars bounds the variables of one request: the answers to 40 integers fit
// the 484 bytes that every agent must take (RFC 3417 section 3.2.1) three
// times, which devices of this kind do.
const maxVars = 40

// session is our side of one device: a socket, SNMPv3's engine state, and what
// the device was found to be. One request is in flight at a time, which is
// what a PDU's small agent bears.
type session struct {
	cfg    config
	name   string        // for messages
	turn   chan struct{} // a token; its holder owns client, used and heard
	client *gosnmp.GoSNMP
	used   time.Time
	heard  bool // something was received in this exchange

	mu    sync.Mutex // guards found
	found *found
}

// found is what the device was found to be, and when.
type found struct {
	family   *family
	identity device.Identity
	at       time.Time
}

func newSession(cfg config, t device.Target) *session {
	name := t.Name
	if name == "" {
		name = t.Address
	}
	return &session{cfg: cfg, name: name, turn: make(chan struct{}, 1), used: time.Now()}
}

// exchange waits for its turn and runs one request.
func (s *session) exchange(ctx context.Context, run func(*gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error)) (*gosnmp.SnmpPacket, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, device.Errorf(device.Busy, "PDU %s: waiting for its turn: %w", s.name, ctx.Err())
	}
	defer func() { <-s.turn }()
	s.used = time.Now()
	if s.client == nil {
		client := s.cfg.client()
		client.Context = ctx
		client.OnRecv = func(*gosnmp.GoSNMP) { s.heard = true }
		if err := client.Connect(); err != nil {
			return nil, device.Errorf(device.Unreachable, "PDU %s: %w", s.name, err)
		}
		s.client = client
	}
	s.client.Context, s.heard = ctx, false
	answer, err := run(s.client)
	if err != nil {
		s.drop()
		return nil, s.explain(err)
	}
	return answer, nil
}

// drop closes the socket after a failure, so that a late answer meets nobody.
func (s *session) drop() {
	if s.client != nil && s.client.Conn != nil {
		s.client.Close()
	}
	s.client = nil
}

// explain gives an exchange's failure its reason.
func (s *session) explain(err error) *device.Error {
	text, _, _ := strings.Cut(err.Error(), " Stack:")
	reason := device.Unreachable
	for _, refused := range []error{gosnmp.ErrWrongDigest, gosnmp.ErrUnknownUsername, gosnmp.ErrUnknownSecurityLevel, gosnmp.ErrDecryption} {
		if errors.Is(err, refused) {
			reason = device.Auth
		}
	}
	if s.cfg.Version == "3" && s.heard && !timedOut(err) {
		// It answers, but nothing that our keys make sense of: a report of a
		// wrong password cannot be authentic, and gosnmp does not pass it on.
		reason = device.Auth
	}
	hint := ""
	if reason == device.Unreachable && s.cfg.Version != "3" && errors.Is(err, gosnmp.ErrMaxRetriesExceeded) {
		hint = " (a wrong community gets no answer either)"
	}
	return device.Errorf(reason, "PDU %s at %s:%d: %s%s", s.name, s.cfg.host, s.cfg.port, text, hint)
}

func timedOut(err error) bool {
	if errors.Is(err, gosnmp.ErrMaxRetriesExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	_, onTheNet := errors.AsType[net.Error](err)
	return onTheNet
}

// variables maps an identifier, without its first dot, to its value.
type variables map[string]gosnmp.SnmpPDU

// get reads instances. Those that the device does not have are missing in the
// answer. Large questions are split until the device takes them.
func (s *session) get(ctx context.Context, oids []string) (variables, error) {
	all := variables{}
	for len(oids) > 0 {
		n := min(len(oids), maxVars)
		if err := s.getInto(ctx, oids[:n], all); err != nil {
			return nil, err
		}
		oids = oids[n:]
	}
	return all, nil
}

func (s *session) getInto(ctx context.Context, oids []string, all variables) error {
	for len(oids) > 0 {
		answer, err := s.exchange(ctx, func(g *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) { return g.Get(oids) })
		if err != nil {
			return err
		}
		bad := int(answer.ErrorIndex) - 1
		switch {
		case answer.Error == gosnmp.NoError:
			all.add(oids, answer.Variables)
			return nil
		case answer.Error == gosnmp.NoSuchName && bad >= 0 && bad < len(oids): // version 1
			oids = append(append([]string{}, oids[:bad]...), oids[bad+1:]...)
		case answer.Error == gosnmp.TooBig && len(oids) > 1:
			half := len(oids) / 2
			if err := s.getInto(ctx, oids[:half], all); err != nil {
				return err
			}
			oids = oids[half:]
		default:
			return s.refusal("read", answer.Error)
		}
	}
	return nil
}

// add takes the answers that were asked for and that are values.
func (vs variables) add(asked []string, answered []gosnmp.SnmpPDU) {
	want := map[string]bool{}
	for _, oid := range asked {
		want[oid] = true
	}
	for _, v := range answered {
		if oid := strings.TrimPrefix(v.Name, "."); want[oid] && exists(v) {
			vs[oid] = v
		}
	}
}

// set writes one INTEGER. The device's error status is returned beside err,
// which is for when there was no answer. Retries are only for what may be done
// twice.
func (s *session) set(ctx context.Context, oid string, n int, retry bool) (gosnmp.SNMPError, error) {
	answer, err := s.exchange(ctx, func(g *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		community, retries := g.Community, g.Retries
		defer func() { g.Community, g.Retries = community, retries }()
		g.Community = s.cfg.WriteCommunity
		if !retry {
			g.Retries = 0
		}
		return g.Set([]gosnmp.SnmpPDU{{Name: oid, Type: gosnmp.Integer, Value: n}})
	})
	if err != nil {
		return gosnmp.NoError, err
	}
	return answer.Error, nil
}

// refusal is the error for an error status.
func (s *session) refusal(what string, status gosnmp.SNMPError) *device.Error {
	reason, retryable := device.Rejected, false
	switch status {
	case gosnmp.NoAccess, gosnmp.AuthorizationError, gosnmp.NotWritable, gosnmp.ReadOnly, gosnmp.NoSuchName, gosnmp.NoCreation:
		reason = device.Auth // what exists and may not be touched
	case gosnmp.ResourceUnavailable, gosnmp.InconsistentValue:
		reason, retryable = device.Busy, true
	case gosnmp.GenErr, gosnmp.CommitFailed, gosnmp.UndoFailed:
		retryable = true
	}
	e := device.Errorf(reason, "PDU %s refuses to %s", s.name, what)
	e.Retryable, e.DeviceCode = retryable, statusCode(status)
	return e
}

// statusCode names an error status as the RFCs do: genErr(5).
func statusCode(status gosnmp.SNMPError) string {
	name := status.String()
	if status == gosnmp.GenErr {
		name = "genErr"
	}
	return fmt.Sprintf("%s(%d)", strings.ToLower(name[:1])+name[1:], uint8(status))
}
