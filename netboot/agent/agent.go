// Package agent is the netboot system's worker: it finds its appliance on the
// kernel command line, authenticates with its boot's token, asks for one job at
// a time over the protocol of netboot/job, carries it out, and reports.
//
// It decides nothing but how. Whatever goes wrong in a job becomes that job's
// final report; whatever goes wrong outside of one ends the agent, and the first
// process (netboot/pid1) then restarts the machine.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Runner carries out one kind of job. Its error may wrap a *job.Problem to say
// which code the report has.
type Runner func(ctx context.Context, j *job.Job, p Phases) (*job.Result, error)

// Phases is how a Runner says what it is doing.
type Phases interface {
	// Run does one phase: it is reported as begun, running and done.
	Run(ctx context.Context, phase string, do func(ctx context.Context) (message string, err error)) error
	// Progress says how many bytes of the running phase are done.
	Progress(done, total int64)
	// Times are the ended phases.
	Times() []job.PhaseTime
}

// Worker asks for jobs and does them.
type Worker struct {
	Client *Client
	Log    *slog.Logger
	// ReportEvery is Welcome's.
	ReportEvery time.Duration
	// Runners by kind; a job of another kind fails.
	Runners map[job.Kind]Runner
	// After runs once a job's final report was acknowledged.
	After map[job.Kind]func() error

	seq int64
}

// minReportEvery keeps an appliance's mistake from becoming a flood.
const minReportEvery = 100 * time.Millisecond

// Run works until ctx ends or the appliance refuses to give jobs.
func (w *Worker) Run(ctx context.Context) error {
	after := ""
	for {
		j, err := w.Client.Next(ctx, after)
		if err != nil {
			return err
		}
		if j == nil {
			continue
		}
		after = j.ID
		w.one(ctx, j)
		if end := w.After[j.Kind]; end != nil {
			if err := end(); err != nil {
				return err
			}
		}
	}
}

// one does a job from its first to its final report.
func (w *Worker) one(ctx context.Context, j *job.Job) {
	w.Log.Info("job", "id", j.ID, "kind", j.Kind, "deadline", j.Deadline)
	jctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !j.Deadline.IsZero() {
		var stop context.CancelFunc
		jctx, stop = context.WithDeadline(jctx, j.Deadline)
		defer stop()
	}
	r := startReporter(ctx, j.ID, &w.seq, max(w.ReportEvery, minReportEvery), w.Client.Report, cancel, w.Log)
	res, err := w.guarded(jctx, j, r)
	p := problem(jctx, err)
	if p != nil {
		w.Log.Error("job failed", "id", j.ID, "code", p.Code, "detail", p.Detail)
	} else {
		w.Log.Info("job done", "id", j.ID)
	}
	r.finish(p, res)
}

// guarded turns a panic of the job's own goroutine into its failure.
func (w *Worker) guarded(ctx context.Context, j *job.Job, r *reporter) (res *job.Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the agent panicked: %v", v)
			w.Log.Error("panic", "job", j.ID, "value", v, "stack", string(debug.Stack()))
		}
	}()
	run, ok := w.Runners[j.Kind]
	if !ok {
		return nil, fmt.Errorf("this agent knows no job of kind %q", j.Kind)
	}
	return run(ctx, j, phases{r})
}

// problem says what a job's error means, nil for none.
func problem(ctx context.Context, err error) *job.Problem {
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var p *job.Problem
	switch {
	case errors.Is(cause, ErrCancelled):
		return &job.Problem{Code: "cancelled", Detail: err.Error(), Retry: true}
	case errors.Is(cause, context.DeadlineExceeded):
		return &job.Problem{Code: "deadline", Detail: "the job's deadline passed: " + err.Error(), Retry: true}
	case errors.As(err, &p):
		return p
	}
	return &job.Problem{Code: "internal", Detail: err.Error(), Retry: true}
}

// phases makes a reporter a Phases.
type phases struct{ r *reporter }

func (p phases) Run(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	return p.r.run(ctx, name, do)
}
func (p phases) Progress(done, total int64) { p.r.progress(done, total) }
func (p phases) Times() []job.PhaseTime     { return p.r.times() }
