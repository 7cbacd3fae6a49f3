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
	if err := json.Unmarshal(r.Request.Spec, v); err != nil {
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

// Phase records that a named part of the step has begun, which ends the part
// before it. Repeating the current phase changes nothing.
func (r *Run) Phase(ctx context.Context, name string) error {
	_, err := r.book.change(ctx, r.Request.ID, func(q *Request) error {
		s := q.find(r.Step, r.undo)
		if s == nil {
			return fmt.Errorf("request %s has no step %s", q.ID, r.Step)
		}
		now := r.book.now()
		if n := len(s.Phases); n > 0 {
			if s.Phases[n-1].Name == name && s.Phases[n-1].Ended.IsZero() {
				return nil
			}
			if s.Phases[n-1].Ended.IsZero() {
				s.Phases[n-1].Ended = now
			}
		}
		if name != "" {
			s.Phases = append(s.Phases, Phase{Name: name, Began: now})
		}
		return nil
	})
	return err
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
			return err
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
		if !problem.Retry || s.Attempt >= max(plan.Attempts, 1) {
			return problem
		}
	}
}

// attempt runs a step's function once, within its deadline.
func (r *Runner) attempt(ctx context.Context, q *Request, plan StepPlan, s Step, undo bool, log *slog.Logger) error {
	ctx, cancel := context.WithDeadlineCause(ctx, s.Deadline,
		&Problem{Code: "deadline", Retry: true, Detail: fmt.Sprintf("step %s did not finish in %s", plan.Name, plan.Timeout)})
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
