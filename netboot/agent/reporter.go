package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// ErrCancelled is the cause of a job's context when the appliance cancelled it.
var ErrCancelled = errors.New("the appliance cancelled the job")

// reportCaller is what a reporter needs of a Client.
type reportCaller func(ctx context.Context, id string, r job.Report) (job.Reply, error)

// reporter sends a job's reports, in order, from one goroutine; so a slow link
// delays reports and not the work. It repeats the running phase's report as a
// heartbeat.
type reporter struct {
	id     string
	seq    *int64 // the boot's counter; only the sending goroutine and Finish touch it
	every  time.Duration
	call   reportCaller
	cancel context.CancelCauseFunc
	log    *slog.Logger
	queue  chan job.Report
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	phase  string
	began  time.Time
	meter  meter
	total  int64
	phases []job.PhaseTime
}

// startReporter starts the sending goroutine; it ends with finish.
func startReporter(ctx context.Context, id string, seq *int64, every time.Duration, call reportCaller, cancel context.CancelCauseFunc, log *slog.Logger) *reporter {
	r := &reporter{id: id, seq: seq, every: every, call: call, cancel: cancel, log: log, queue: make(chan job.Report, 64), done: make(chan struct{})}
	go r.send(ctx)
	return r
}

func (r *reporter) send(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for {
		select {
		case rep, ok := <-r.queue:
			if !ok {
				return
			}
			r.post(ctx, rep)
			tick.Reset(r.every)
		case <-tick.C:
			if rep, ok := r.current(); ok {
				r.post(ctx, rep)
			}
		}
	}
}

// post sends one report. A refusal means that the appliance knows no such job
// any more: the job is cancelled.
func (r *reporter) post(ctx context.Context, rep job.Report) {
	*r.seq++
	rep.Seq = *r.seq
	reply, err := r.call(ctx, r.id, rep)
	if reply.Cancel {
		r.cancel(ErrCancelled)
	}
	var refused *Refused
	if errors.As(err, &refused) {
		r.log.Error("the appliance refused a report", "job", r.id, "phase", rep.Phase, "err", err)
		r.cancel(ErrCancelled)
	}
}

// current is the running phase's report.
func (r *reporter) current() (job.Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == "" {
		return job.Report{}, false
	}
	rep := r.report(job.Running)
	rep.Rate, rep.Remaining = r.meter.rate(time.Now(), r.total)
	return rep, true
}

func (r *reporter) report(s job.State) job.Report {
	return job.Report{Phase: r.phase, State: s, Done: r.meter.done, Total: r.total, Elapsed: job.Duration(time.Since(r.began).Round(time.Millisecond))}
}

// run does one phase: it reports its begin, heartbeats and end, and keeps its
// time.
func (r *reporter) run(ctx context.Context, phase string, do func(context.Context) (message string, err error)) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.phase, r.began, r.meter, r.total = phase, time.Now(), meter{}, 0
	rep := r.report(job.Running)
	r.mu.Unlock()
	r.log.Info("phase", "job", r.id, "phase", phase)
	r.queue <- rep
	msg, err := do(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.phases = append(r.phases, job.PhaseTime{Phase: phase, Elapsed: r.report(job.Failed).Elapsed})
		return err
	}
	rep = r.report(job.Done)
	rep.Message = msg
	r.phases = append(r.phases, job.PhaseTime{Phase: phase, Elapsed: rep.Elapsed})
	r.log.Info("phase done", "job", r.id, "phase", phase, "elapsed", time.Duration(rep.Elapsed), "message", msg)
	r.queue <- rep
	return nil
}

// progress says how far the running phase is, in bytes. It is cheap.
func (r *reporter) progress(done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total = total
	r.meter.set(time.Now(), done)
}

// finish sends the final report and waits until the appliance has it or refuses
// it, or ctx ends.
func (r *reporter) finish(p *job.Problem, res *job.Result) {
	r.mu.Lock()
	rep := r.report(job.Done)
	if rep.Phase == "" {
		rep.Phase, rep.Elapsed = "start", 0
	}
	r.mu.Unlock()
	rep.Final, rep.Result = true, res
	if p != nil {
		rep.State, rep.Problem, rep.Message, rep.Result = job.Failed, p, p.Detail, nil
	}
	r.queue <- rep
	close(r.queue)
	<-r.done
}

func (r *reporter) times() []job.PhaseTime {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]job.PhaseTime(nil), r.phases...)
}
