package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"

	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

// maxDisplaced bounds what a machine that fetches its script over and over is
// remembered by: the latest are kept.
const maxDisplaced = 8

// displace notes hashes that newer ones take the place of.
func (b *Boot) displace(hashes ...[]byte) {
	for _, h := range hashes {
		if len(h) > 0 && !b.wasDisplaced([sha256.Size]byte(h)) {
			b.Displaced = append(b.Displaced, h)
		}
	}
	b.Displaced = b.Displaced[max(0, len(b.Displaced)-maxDisplaced):]
}

func (b *Boot) wasDisplaced(hash [sha256.Size]byte) bool {
	for _, h := range b.Displaced {
		if [sha256.Size]byte(h) == hash {
			return true
		}
	}
	return false
}

// contest puts everybody out that says it is this machine, and fails its job:
// nobody can tell which of them did what.
func (b *Boot) contest() {
	b.Session, b.Token, b.Sealed = nil, nil, nil
	if b.Job != nil && b.Final == nil {
		b.Final = &job.Report{State: job.Failed, Final: true, Problem: &job.Problem{Code: "two-agents",
			Detail: "two agents were told to be this machine, so what was done cannot be trusted"}}
	}
}

// contested tells a person, and who waits for the job.
func (s *Service) contested(ctx context.Context, machine string, from netip.Addr) {
	s.log.Error("two agents were told to be one machine", "machine", machine, "from", from)
	s.wake(machine)
	s.alert(ctx, machine, "two-agents", fmt.Sprintf("two agents were told to be machine %s, the second at %s: its work was stopped", machine, from),
		"find out what else has its MAC address and its IP address; somebody may want to be this machine")
}

// intruder looks whether a token that is no session's is one that was displaced,
// and then ends the machine's work.
func (s *Service) intruder(ctx context.Context, token string, from netip.Addr) {
	sum := sha256.Sum256([]byte(token))
	machine := ""
	find := func(tx *store.Tx) (Boot, error) { return s.t.displaced.Get(tx, store.K(sum[:])) }
	err := s.db.View(ctx, func(tx *store.Tx) error {
		_, err := find(tx)
		return err
	})
	if err == nil {
		err = s.db.Update(ctx, func(tx *store.Tx) error {
			b, err := find(tx)
			if err != nil || string(b.Session) == string(sum[:]) {
				return err // its place was not taken after all
			}
			machine = b.Machine
			b.contest()
			return s.t.boots.Put(tx, b)
		})
	}
	switch {
	case machine != "" && err == nil:
		s.contested(ctx, machine, from)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		s.log.Error("not known whether a second agent speaks", "from", from, "error", err)
	}
}
