package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

// ErrLost says that a machine's agent has not spoken for too long.
var ErrLost = errors.New("the machine's agent has gone silent")

// ErrNoAgent says that no agent runs on the machine.
var ErrNoAgent = errors.New("no agent runs on the machine")

// Alive says whether an agent runs on the machine now. After a restart of the
// appliance it waits, at most the time after which an agent counts as lost, for
// one that had a session to speak.
func (s *Service) Alive(ctx context.Context, machine string) (bool, error) {
	b, err := s.get(ctx, machine)
	if err != nil || len(b.Session) == 0 {
		return false, err
	}
	for {
		l := s.glance(machine)
		if !l.seen.IsZero() && s.now().Sub(l.seen) < s.times.Lost {
			return true, nil
		}
		if s.now().Sub(l.began) >= s.times.Lost {
			return false, nil
		}
		if err := s.wait(ctx, l.changed, l.began.Add(s.times.Lost).Sub(s.now())); err != nil {
			return false, err
		}
	}
}

// Await waits until an agent has begun on the machine, or ctx ends.
func (s *Service) Await(ctx context.Context, machine string) error {
	for {
		l := s.glance(machine)
		b, err := s.get(ctx, machine)
		if err != nil {
			return err
		}
		if len(b.Session) > 0 && !l.seen.IsZero() {
			return nil
		}
		if err := s.wait(ctx, l.changed, time.Minute); err != nil {
			return err
		}
	}
}

// Do gives the machine's agent a job and waits for its end. on is told each
// report, from this goroutine; it may be nil. A job with the ID of the one that the machine has
// is that job: Do waits for its end, which may be past. The error is a
// *job.Problem if the agent failed, or wraps ErrLost if it went silent; the job
// stays and is given to the machine's next agent.
func (s *Service) Do(ctx context.Context, machine string, j job.Job, on func(job.Report)) (*job.Result, error) {
	shown, sealed, err := s.hide(&j)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, machine, func(b *Boot) error {
		if b.Job == nil || b.Job.ID != j.ID {
			b.Job, b.Sealed, b.Final = shown, sealed, nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.wake(machine)
	began := s.now()
	var told *job.Report
	for {
		l := s.glance(machine)
		b, err := s.get(ctx, machine)
		if err != nil {
			return nil, err
		}
		if b.Job == nil || b.Job.ID != j.ID {
			return nil, fmt.Errorf("job %s of machine %s was replaced", j.ID, machine)
		}
		if l.last != nil && l.last != told && on != nil {
			on(*l.last)
		}
		told = l.last
		if b.Final != nil {
			return outcome(b.Final)
		}
		quiet := s.now().Sub(latest(l.seen, began))
		if quiet >= s.times.Lost {
			return nil, fmt.Errorf("machine %s, job %s: nothing heard for %s: %w", machine, j.Kind, quiet.Round(time.Second), ErrLost)
		}
		if err := s.wait(ctx, l.changed, s.times.Lost-quiet); err != nil {
			return nil, err
		}
	}
}

func outcome(final *job.Report) (*job.Result, error) {
	if final.State == job.Done {
		if final.Result == nil {
			return &job.Result{}, nil
		}
		return final.Result, nil
	}
	if final.Problem == nil {
		return nil, &job.Problem{Code: "internal", Detail: "the agent failed and gave no reason"}
	}
	return nil, final.Problem
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wake lets who waits for the machine look again, without counting as a word of
// its agent.
func (s *Service) wake(machine string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link(machine)
	l.last = nil
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait returns when c is closed or d has passed; the error is ctx's.
func (s *Service) wait(ctx context.Context, c <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(max(d, time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c:
	case <-t.C:
	}
	return nil
}

// next returns the job that the agent of b's machine has to do, other than the
// one called after; it waits for one until poll has passed. A rescue is done
// again by each new agent: it is what the machine is up for.
func (s *Service) next(ctx context.Context, b Boot, after string) (*job.Job, error) {
	until := s.now().Add(s.times.Poll)
	for {
		l := s.glance(b.Machine)
		now, err := s.get(ctx, b.Machine)
		if err != nil {
			return nil, err
		}
		if string(now.Session) != string(b.Session) {
			return nil, fmt.Errorf("another agent has begun on this machine: %w", ErrRefused)
		}
		if now.Job != nil && now.Job.ID != after && (now.Final == nil || now.Job.Kind == job.Rescue) {
			j, err := s.whole(&now)
			if err == nil && now.Final != nil {
				j.Deadline = time.Time{} // it was its request's, which has ended
			}
			return j, err
		}
		left := until.Sub(s.now())
		if left <= 0 {
			return nil, nil
		}
		if err := s.wait(ctx, l.changed, left); err != nil {
			return nil, err
		}
	}
}

// report takes a report of the agent of b's machine.
func (s *Service) report(ctx context.Context, b Boot, id string, r job.Report) (job.Reply, error) {
	if b.Job == nil || b.Job.ID != id {
		return job.Reply{Cancel: true}, nil
	}
	again := b.Final != nil
	if again && b.Job.Kind != job.Rescue {
		return job.Reply{}, nil // a repeat of the last word
	}
	if r.Final {
		err := s.change(ctx, b.Machine, func(now *Boot) error {
			if now.Job == nil || now.Job.ID != id || now.Final != nil && !again {
				return nil
			}
			now.Final, now.Sealed = &r, nil
			if now.Job.Kind == job.Reboot || now.Job.Kind == job.PowerOff {
				now.Session = nil // this was its last word
			}
			return nil
		})
		if err == nil && again {
			err = s.rescued(ctx, b.Machine, &r)
		}
		if err != nil {
			return job.Reply{}, err
		}
	}
	s.touch(b.Machine, func(l *link) {
		if r.Seq > l.seq || r.Final {
			l.seq, l.last = r.Seq, &r
		}
	})
	return job.Reply{}, nil
}

// rescued records how to log in to a rescue system that was started again, with
// a host key of its own: its request has ended, and nobody else waits for it.
func (s *Service) rescued(ctx context.Context, id string, r *job.Report) error {
	line := "the rescue system did not start again; leave rescue and enter it anew"
	if r.State == job.Done && r.Result != nil && r.Result.Rescue != nil {
		line = r.Result.Rescue.String()
	}
	return s.assets.Change(ctx, id, func(_ *store.Tx, m *asset.Machine) error {
		if m.Status.State == machine.Rescue {
			m.Status.Reason = line
		}
		return nil
	})
}
