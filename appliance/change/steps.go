package change

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
)

// Run is what a step sees of the request that it is part of.
type Run struct {
	// Request is the request as it stood when the step began.
	Request Request
	// Step is the step's name, Attempt which attempt it is.
	Step    string
	Attempt int
	// Resumed says that this attempt was interrupted and begins again.
	Resumed bool
	// Log carries the request's attributes.
	Log *slog.Logger

	book *Book
	live *Live
	undo bool
}

// Spec decodes the request's specification into v.
func (r *Run) Spec(v any) error {
	spec, err := r.book.Spec(&r.Request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(spec, v); err != nil {
		return fmt.Errorf("request %s: spec: %w", r.Request.ID, err)
	}
	return nil
}

// Machine returns the request's machine as it stands now.
func (r *Run) Machine(ctx context.Context) (asset.Machine, error) {
	return r.book.assets.Machine(ctx, r.Request.Machine)
}

// Say shows where the step stands, live; nothing is stored.
func (r *Run) Say(p Progress) {
	p.Step = r.Step
	r.live.say(r.Request.ID, p)
}

// maxPhases is how many phases a step has; what a machine reports beyond them
// is not recorded.
const maxPhases = 64

// Phase records that a named part of the step has begun, which ends the part
// before it; the empty name ends that and begins none. Repeating the current
// phase changes nothing, and neither does a name that is none: small letters,
// digits, spaces, "-" and "/", at most 64, a letter first.
func (r *Run) Phase(ctx context.Context, name string) error {
	if name != "" && !isPhase(name) {
		return nil
	}
	_, err := r.book.change(ctx, r.Request.ID, func(q *Request) error {
		s := q.find(r.Step, r.undo)
		if s == nil {
			return fmt.Errorf("request %s has no step %s", q.ID, r.Step)
		}
		return s.phase(name, r.book.now())
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

// errSame keeps a request that has not changed from being written.
var errSame = errors.New("nothing has changed")

func (s *Step) phase(name string, now time.Time) error {
	n := len(s.Phases)
	open := n > 0 && s.Phases[n-1].Ended.IsZero()
	if open && s.Phases[n-1].Name == name || !open && name == "" || n == maxPhases && name != "" {
		return errSame
	}
	if open {
		s.Phases[n-1].Ended = now
	}
	if name != "" {
		s.Phases = append(s.Phases, Phase{Name: name, Began: now})
	}
	return nil
}

func isPhase(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '-' || c == '/' || c == ' '):
		default:
			return false
		}
	}
	return len(name) <= 64
}

// steps carries out those of the planned steps that are not done.
func (r *Runner) steps(ctx context.Context, q *Request, plan []StepPlan, undo bool, log *slog.Logger) error {
	for _, p := range plan {
		if s := q.find(p.Name, undo); s != nil && s.Status == Done {
			continue
		}
		if err := r.step(ctx, q, p, undo, log); err != nil {
			return err
		}
	}
	return nil
}

// step carries one step out, again if it fails and may be tried again.
func (r *Runner) step(ctx context.Context, q *Request, plan StepPlan, undo bool, log *slog.Logger) error {
	for {
		if err := stopped(ctx); err != nil {
			return r.stopStep(q, plan, undo, err)
		}
		s, err := r.beginStep(q, plan, undo)
		if err != nil {
			return err
		}
		log := log.With("step", plan.Name, "attempt", s.Attempt)
		log.Info("step began", "resumed", s.Resumed)
		err = r.attempt(ctx, q, plan, s, undo, log)
		if cause := stopped(ctx); cause != nil && err != nil {
			if errors.Is(cause, errShutdown) {
				return cause
			}
			err = cause
		}
		if endErr := r.endStep(q, plan, undo, err); endErr != nil {
			return endErr
		}
		if err == nil {
			log.Info("step done", "seconds", r.book.now().Sub(s.Began).Seconds())
			return nil
		}
		problem := problemOf(err)
		log.Warn("step failed", "code", problem.Code, "detail", problem.Detail, "retry", problem.Retry)
		if !problem.Retry || s.Attempt-s.Spent >= max(plan.Attempts, 1) {
			return problem
		}
		if wait := pause(s.Attempt-s.Spent, r.book.now().Sub(s.Began)); wait > 0 {
			r.live.say(q.ID, Progress{Step: plan.Name, Message: fmt.Sprintf("trying again in %s: %s", wait, problem.Detail)})
			sleep(ctx, wait)
		}
	}
}

// pause is how long to wait after the n-th attempt, which took so long. What
// fails at once fails at once again: it is given the time in which a driver or
// a device comes back, the minute that a failing driver rests included. What
// was at work for a while is tried again at once.
func pause(n int, took time.Duration) time.Duration {
	const short, long = 5 * time.Second, time.Minute
	switch {
	case took >= short:
		return 0
	case n == 1:
		return short
	}
	return long
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// attempt runs a step's function once, within its deadline.
func (r *Runner) attempt(ctx context.Context, q *Request, plan StepPlan, s Step, undo bool, log *slog.Logger) error {
	ctx, cancel := context.WithDeadlineCause(ctx, s.Deadline,
		&Problem{Code: "deadline", Retry: true, Person: true, Detail: fmt.Sprintf("step %s did not finish in %s", plan.Name, plan.Timeout)})
	defer cancel()
	err := plan.Run(ctx, &Run{Request: *q, Step: plan.Name, Attempt: s.Attempt, Resumed: s.Resumed > 0, Log: log,
		book: r.book, live: r.live, undo: undo})
	var deadline *Problem
	if err != nil && errors.Is(err, context.DeadlineExceeded) && errors.As(context.Cause(ctx), &deadline) {
		return deadline
	}
	return err
}

// beginStep records that a step begins, or that it goes on after a restart.
func (r *Runner) beginStep(q *Request, plan StepPlan, undo bool) (Step, error) {
	var began Step
	changed, err := r.book.change(r.base, q.ID, func(q *Request) error {
		s := q.find(plan.Name, undo)
		if s == nil {
			q.Steps = append(q.Steps, Step{Name: plan.Name, Undo: undo})
			s = &q.Steps[len(q.Steps)-1]
		}
		if s.Status != Running {
			now := r.book.now()
			s.Status, s.Began, s.Ended, s.Deadline, s.Phases = Running, now, time.Time{}, now.Add(plan.Timeout), nil
			s.Attempt++
			s.Resumed = 0
		}
		began = *s
		return nil
	})
	if err == nil {
		*q = changed
	}
	return began, err
}

// stopStep returns why a step does not begin. One that was running when the
// appliance stopped, and that nobody wants any more, ends with it.
func (r *Runner) stopStep(q *Request, plan StepPlan, undo bool, why error) error {
	if s := q.find(plan.Name, undo); s == nil || s.Status != Running || errors.Is(why, errShutdown) {
		return why
	}
	if err := r.endStep(q, plan, undo, why); err != nil {
		return err
	}
	return why
}

// endStep records that a step is done, or why it failed.
func (r *Runner) endStep(q *Request, plan StepPlan, undo bool, stepErr error) error {
	changed, err := r.book.change(r.base, q.ID, func(q *Request) error {
		s := q.find(plan.Name, undo)
		s.Ended, s.Status, s.Error = r.book.now(), Done, nil
		if n := len(s.Phases); n > 0 && s.Phases[n-1].Ended.IsZero() {
			s.Phases[n-1].Ended = s.Ended
		}
		if stepErr != nil {
			s.Status, s.Error = Failed, problemOf(stepErr)
		}
		return nil
	})
	if err == nil {
		*q = changed
	}
	return err
}

// stopped says why ctx was stopped from outside: a shutdown or a cancellation.
func stopped(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
