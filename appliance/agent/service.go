// Package agent is the appliance's side of the conversation with the netboot
// agent that runs on a machine (netboot/job has the wire contract). It owns the
// boot tokens, the sessions, the job that each machine has, and the machines'
// logs.
//
// What always holds: a token serves one hello of one boot of one machine from
// the address that fetched it, none is made while an agent speaks, and a session
// serves that address only; a session has at most one job; a job's final report
// is committed before it is acknowledged; a job that is given again under the
// same ID is the same job.
package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/store"
)

// Boot is a machine's current boot of the agent.
type Boot struct {
	Machine string `json:"machine"`
	// Token is the SHA-256 of the token that was given out last. It is spent, and
	// empty, from the session's first call on; until then the same hello may be
	// repeated, as its answer may have been lost. It was fetched by MAC from From
	// and is dead after Expires.
	Token   []byte     `json:"token,omitempty"`
	MAC     string     `json:"mac,omitempty"`
	From    netip.Addr `json:"from,omitzero"`
	Expires time.Time  `json:"expires,omitzero"`
	// Session is the SHA-256 of the session token; empty when no agent runs. It
	// was begun with the token that SessionToken is the SHA-256 of, and serves
	// SessionFrom only.
	Session      []byte     `json:"session,omitempty"`
	SessionToken []byte     `json:"session_token,omitempty"`
	SessionFrom  netip.Addr `json:"session_from,omitzero"`
	Began        time.Time  `json:"began,omitzero"`
	// Displaced are the SHA-256s of the tokens and sessions that newer ones took
	// the place of since the machine was last switched off. Who shows one is a
	// second that was told to be this machine.
	Displaced [][]byte `json:"displaced,omitempty"`
	// Job is what the agent has to do, without its secrets, and Final its last
	// report. Until then Sealed is the whole job, encrypted, if it has any.
	Job    *job.Job    `json:"job,omitempty"`
	Sealed []byte      `json:"sealed,omitempty"`
	Final  *job.Report `json:"final,omitempty"`
}

// Tables are the tables of this package.
type Tables struct {
	boots     *store.Table[Boot]
	sessions  *store.Index[Boot]
	tokens    *store.Index[Boot]
	displaced *store.Index[Boot]
}

// NewTables declares the tables.
func NewTables() *Tables {
	t := store.NewTable("boots", 1, func(b *Boot) store.Key { return store.K(b.Machine) })
	hash := func(of func(b *Boot) []byte) func(b *Boot) []store.Key {
		return func(b *Boot) []store.Key {
			if len(of(b)) == 0 {
				return nil
			}
			return []store.Key{store.K(of(b))}
		}
	}
	return &Tables{boots: t,
		sessions: store.NewIndex(t, "session", hash(func(b *Boot) []byte { return b.Session }), true),
		tokens:   store.NewIndex(t, "token", hash(func(b *Boot) []byte { return b.Token }), true),
		displaced: store.NewIndex(t, "displaced", func(b *Boot) (keys []store.Key) {
			for _, h := range b.Displaced {
				keys = append(keys, store.K(h))
			}
			return keys
		}, true)}
}

// Schemas lists the tables for store.Open.
func (t *Tables) Schemas() []store.Schema { return []store.Schema{t.boots} }

// Times bounds the conversation.
type Times struct {
	// Token is how long a boot token lives, ReportEvery how often an agent speaks
	// while it works, Poll how long it waits for a job in one call, and Lost how
	// long after its last word it is given up.
	Token, ReportEvery, Poll, Lost time.Duration
}

// DefaultTimes suit machines that take minutes to start and a network that
// loses a few packets.
func DefaultTimes() Times {
	return Times{Token: 10 * time.Minute, ReportEvery: 5 * time.Second, Poll: 20 * time.Second, Lost: 60 * time.Second}
}

// Service talks with the agents of a pod. It is safe for concurrent use.
type Service struct {
	db     *store.DB
	t      *Tables
	assets *asset.Registry
	book   *Logbook
	times  Times
	alert  func(ctx context.Context, machine, code, detail, action string)
	log    *slog.Logger
	now    func() time.Time
	began  time.Time      // when this appliance began to listen
	calls  *httpboot.Pace // of hello and log, which anyone may call
	wrong  *httpboot.Pace // of calls without a session, which are logged

	mu    sync.Mutex // guards links
	links map[string]*link
}

// link is what is known of a machine's agent in memory.
type link struct {
	seen    time.Time     // when the session last spoke
	seq     int64         // the highest report that was taken
	changed chan struct{} // closed and replaced when something changes
	last    *job.Report   // the latest report of the current job
	began   time.Time     // when this appliance first knew of the link
}

// Calls that one address may make before it is told to wait: an agent says hello
// once, and ships its log three times a second at most.
const (
	callRate  = 5
	callBurst = 20
)

// New makes a service. alert is called when a person is needed; it must not
// block, as whoever is on the network can bring it about.
func New(db *store.DB, t *Tables, assets *asset.Registry, book *Logbook, times Times,
	alert func(ctx context.Context, machine, code, detail, action string), log *slog.Logger, now func() time.Time) *Service {
	return &Service{db: db, t: t, assets: assets, book: book, times: times, alert: alert, log: log, now: now,
		began: now(), calls: httpboot.NewPace(callRate, callBurst, now), wrong: httpboot.NewPace(callRate, callBurst, now),
		links: map[string]*link{}}
}

// link returns the machine's link, which it makes. The caller holds s.mu.
func (s *Service) link(machine string) *link {
	l := s.links[machine]
	if l == nil {
		l = &link{changed: make(chan struct{}), began: s.now()}
		s.links[machine] = l
	}
	return l
}

// touch notes that a machine's agent spoke, lets fn change the link, and wakes
// who waits.
func (s *Service) touch(machine string, fn func(l *link)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link(machine)
	l.seen = s.now()
	if fn != nil {
		fn(l)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// glance returns a copy of the machine's link.
func (s *Service) glance(machine string) link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.link(machine)
}

// ErrRefused says that a caller is not who it says, or may not do that.
var ErrRefused = errors.New("refused")

// ErrBusy says that an agent speaks for the machine, which is not to be given
// another token.
var ErrBusy = errors.New("an agent works on the machine")

// Issue makes a boot token for a machine, for the agent that the caller's boot
// script will start. It replaces one that was given out before. While an agent
// speaks it is ErrBusy: whoever asks then is not that machine, which is at work.
// One that lost its agent has been silent for long when it asks again.
func (s *Service) Issue(ctx context.Context, machine, mac string, from netip.Addr) (string, error) {
	token, hash, err := newToken()
	if err != nil {
		return "", err
	}
	err = s.change(ctx, machine, func(b *Boot) error {
		if s.speaks(b) {
			return fmt.Errorf("machine %s: %w", machine, ErrBusy)
		}
		b.displace(b.Token, b.Session)
		b.Token, b.MAC, b.From, b.Expires = hash, mac, from, s.now().Add(s.times.Token)
		return nil
	})
	return token, err
}

// speaks says whether the machine's agent has spoken of late. One that had a
// session before this appliance started may be about to.
func (s *Service) speaks(b *Boot) bool {
	return len(b.Session) > 0 && s.now().Sub(latest(s.glance(b.Machine).seen, s.began)) < s.times.Lost/2
}

// Reset forgets a machine's session and token, so that only a new boot counts.
// Call it before the machine is switched off.
func (s *Service) Reset(ctx context.Context, machine string) error {
	err := s.change(ctx, machine, func(b *Boot) error {
		b.Session, b.Token, b.Displaced, b.Job, b.Sealed, b.Final = nil, nil, nil, nil, nil, nil
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.link(machine).changed) // who waits looks again
	delete(s.links, machine)
	return err
}

// change reads a machine's boot record, lets fn change it and commits it.
func (s *Service) change(ctx context.Context, machine string, fn func(b *Boot) error) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		b, err := s.t.boots.Get(tx, store.K(machine))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		b.Machine = machine
		if err := fn(&b); err != nil {
			return err
		}
		return s.t.boots.Put(tx, b)
	})
}

// get returns a machine's boot record; an empty one if there is none.
func (s *Service) get(ctx context.Context, machine string) (b Boot, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		b, err = s.t.boots.Get(tx, store.K(machine))
		if errors.Is(err, store.ErrNotFound) {
			b, err = Boot{Machine: machine}, nil
		}
		return err
	})
	return b, err
}

// hello exchanges a boot token for a session.
func (s *Service) hello(ctx context.Context, token string, h job.Hello, from netip.Addr) (job.Welcome, error) {
	if h.Protocol != job.Version {
		return job.Welcome{}, fmt.Errorf("agent speaks protocol %d, this appliance %d: rebuild the netboot image: %w", h.Protocol, job.Version, ErrRefused)
	}
	if err := checkHello(h); err != nil {
		return job.Welcome{}, err
	}
	session, hash, err := newToken()
	if err != nil {
		return job.Welcome{}, err
	}
	var why string
	var two bool
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		why, two = "", false
		b, err := s.t.boots.Get(tx, store.K(h.Machine))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		m, err := s.assets.Get(tx, h.Machine)
		if errors.Is(err, asset.ErrNotFound) {
			// Nobody is told: a stranger could call people as often as it can make names up.
			return ErrRefused
		}
		if err != nil {
			return err
		}
		if two = b.wasDisplaced(sha256.Sum256([]byte(token))); two {
			b.contest()
			return s.t.boots.Put(tx, b)
		}
		if why = s.mistrust(&b, &m, token, h, from); why != "" {
			return nil
		}
		b.Session, b.SessionToken, b.SessionFrom, b.Began = hash, b.Token, from, s.now()
		return s.t.boots.Put(tx, b)
	})
	switch {
	case err != nil:
		return job.Welcome{}, err
	case two:
		s.contested(ctx, h.Machine, from)
		return job.Welcome{}, ErrRefused
	case why != "":
		s.log.Warn("agent refused", "machine", h.Machine, "from", from, "why", why)
		s.alert(ctx, h.Machine, "agent-refused", fmt.Sprintf("an agent at %s (MAC %s, UUID %s) said it is machine %s and was refused: %s", from, h.BootMAC, h.UUID, h.Machine, why),
			"if you did not move hardware or restart machines just now, find out what has that address")
		return job.Welcome{}, ErrRefused // the reason would tell a stranger what to say next time
	}
	s.touch(h.Machine, func(l *link) { l.seq, l.last = 0, nil })
	s.log.Info("agent began", "machine", h.Machine, "from", from, "agent", h.Agent)
	return job.Welcome{Session: session, ReportEvery: job.Duration(s.times.ReportEvery)}, nil
}

// checkHello refuses what no agent says, before any of it reaches a person.
func checkHello(h job.Hello) error {
	if err := asset.CheckName("machine", h.Machine); err != nil {
		return fmt.Errorf("hello: %w: %w", err, errBad)
	}
	if mac, err := asset.ParseMAC(h.BootMAC); err != nil || mac != h.BootMAC {
		return fmt.Errorf("hello: boot_mac %.40q is not a MAC address in lower case with colons: %w", h.BootMAC, errBad)
	}
	if h.UUID != "" && !asset.ValidUUID(h.UUID) {
		return fmt.Errorf("hello: uuid %.40q is not a UUID in lower case: %w", h.UUID, errBad)
	}
	return nil
}

// mistrust says why a hello is not believed, or "".
func (s *Service) mistrust(b *Boot, m *asset.Machine, token string, h job.Hello, from netip.Addr) string {
	sum := sha256.Sum256([]byte(token))
	switch {
	case len(b.Token) == 0 || subtle.ConstantTimeCompare(b.Token, sum[:]) != 1:
		return "the boot token is not this machine's, or was used before"
	case s.now().After(b.Expires):
		return "the boot token has expired"
	case b.From != from:
		return fmt.Sprintf("the boot token was given to %s", b.From)
	case b.MAC != h.BootMAC:
		return fmt.Sprintf("the boot token was given to MAC address %s", b.MAC)
	case m.UUID != "" && m.UUID != h.UUID:
		return fmt.Sprintf("the inventory has machine %s with UUID %s: two machines with one MAC address, or a new mainboard", m.ID, m.UUID)
	}
	return ""
}

// authenticate returns the machine whose session a token is, if it is used from
// where it began.
func (s *Service) authenticate(ctx context.Context, token string, from netip.Addr) (b Boot, err error) {
	sum := sha256.Sum256([]byte(token))
	err = s.db.View(ctx, func(tx *store.Tx) error {
		b, err = s.t.sessions.Get(tx, store.K(sum[:]))
		if errors.Is(err, store.ErrNotFound) || err == nil && b.SessionFrom != from {
			return fmt.Errorf("the session is not known or has ended: %w", ErrRefused)
		}
		return err
	})
	return b, err
}

// mayLog returns the machine whose log a caller may add to: a session's, or that
// of a boot token which is not spent, as an agent may fail before its hello.
func (s *Service) mayLog(ctx context.Context, token string, from netip.Addr) (b Boot, err error) {
	if b, err = s.authenticate(ctx, token, from); !errors.Is(err, ErrRefused) {
		return b, err
	}
	refused := err
	sum := sha256.Sum256([]byte(token))
	err = s.db.View(ctx, func(tx *store.Tx) error {
		b, err = s.t.tokens.Get(tx, store.K(sum[:]))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (b.From != from || s.now().After(b.Expires)) {
		return b, refused
	}
	return b, err
}

func newToken() (token string, hash []byte, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", nil, fmt.Errorf("token: %w", err)
	}
	token = base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(token))
	return token, sum[:], nil
}
