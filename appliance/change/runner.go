package change

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store"
)

// ErrCancelled is the cause of a step's context when someone cancelled the
// request.
var ErrCancelled = errors.New("cancelled")

// errShutdown is the cause when the appliance itself stops: the step is resumed
// when it starts again.
var errShutdown = errors.New("the appliance is stopping")

// Plan is how one kind of request is carried out.
type Plan struct {
	// Steps are carried out in order.
	Steps []StepPlan
	// Undo is carried out in order when a step failed or the request was
	// cancelled. It must leave the machine clean, or fail.
	Undo []StepPlan
	// Uncancellable says that stopping half-way would be worse than going on.
	Uncancellable bool
	// Settle brings the machine to where it stands after the request ended, in
	// the transaction that ends it; nil leaves it where the steps left it.
	Settle func(m *asset.Machine, end Status, p *Problem, now time.Time) error
}

// StepPlan is how one step is carried out.
type StepPlan struct {
	Name string
	// Timeout bounds one attempt, from when it first began, restarts of the
	// appliance included.
	Timeout time.Duration
	// Attempts is how often it is tried if it fails with a Problem that says
	// Retry; 0 is once.
	Attempts int
	// Run carries it out. It must be idempotent: after a restart of the appliance
	// it runs again from its beginning.
	Run func(ctx context.Context, run *Run) error
}

// Alert records in tx, which ends r, that a person is needed because of p.
type Alert func(tx *store.Tx, r Request, p *Problem) error

// Runner carries requests out, each in a goroutine of its own.
type Runner struct {
	book  *Book
	plans map[Kind]Plan
	live  *Live
	alert Alert
	log   *slog.Logger

	mu      sync.Mutex // guards cancels, again, closed
	cancels map[string]context.CancelCauseFunc
	again   map[string]Request // go on when the goroutine that ended them has left
	closed  bool
	wg      sync.WaitGroup
	base    context.Context
	stop    context.CancelCauseFunc
}

// NewRunner makes a runner of the given plans. alert is called when a person is
// needed; nil tells nobody.
func NewRunner(book *Book, plans map[Kind]Plan, live *Live, alert Alert, log *slog.Logger) *Runner {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Runner{book: book, plans: plans, live: live, alert: alert, log: log,
		cancels: map[string]context.CancelCauseFunc{}, again: map[string]Request{}, base: ctx, stop: stop}
}

// Resume starts every request that has not ended; call it once, at start.
func (r *Runner) Resume(ctx context.Context) error {
	open, err := r.book.Open(ctx)
	if err != nil {
		return err
	}
	for _, q := range open {
		r.log.Info("request resumed", "request", q.ID, "kind", q.Kind, "machine", q.Machine)
		r.Start(q)
	}
	return nil
}

// Close stops the work in progress where it is, to be resumed by the next
// appliance, and waits until it has stopped.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop(errShutdown)
	r.wg.Wait()
}

// Submit accepts an ask and starts it.
func (r *Runner) Submit(ctx context.Context, ask Ask, admit Admit) (Request, error) {
	if _, ok := r.plans[ask.Kind]; !ok {
		return Request{}, fmt.Errorf("this appliance cannot %s", ask.Kind)
	}
	q, err := r.book.Accept(ctx, ask, admit)
	if err != nil {
		return q, err
	}
	if !q.Status.Ended() {
		r.Start(q)
	}
	return q, nil
}

// Start carries a request out unless it is being carried out already.
func (r *Runner) Start(q Request) { r.start(q, false) }

// start carries q out; one that goes on again is, after its earlier end.
func (r *Runner) start(q Request, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.cancels[q.ID] != nil {
		if again {
			r.again[q.ID] = q
		}
		return
	}
	ctx, cancel := context.WithCancelCause(r.base)
	r.cancels[q.ID] = cancel
	r.wg.Go(func() {
		r.carryOut(ctx, q)
		cancel(nil)
		if q, again := r.left(q.ID); again {
			r.start(q, false)
		}
	})
}

// left forgets the goroutine of a request, and returns the request if it is to
// be carried out again.
func (r *Runner) left(id string) (q Request, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, again = r.again[id]
	delete(r.cancels, id)
	delete(r.again, id)
	return q, again
}

// Cancel asks a running request to stop; it undoes what it did and ends as
// cancelled. It is an error if the request has ended.
func (r *Runner) Cancel(ctx context.Context, id string) (Request, error) {
	q, err := r.book.change(ctx, id, func(q *Request) error {
		if r.plans[q.Kind].Uncancellable {
			return fmt.Errorf("request %s: a %s cannot be cancelled once it is accepted: %w", id, q.Kind, ErrEnded)
		}
		q.Cancelling = true
		return nil
	})
	if err != nil {
		return q, err
	}
	r.mu.Lock()
	cancel := r.cancels[id]
	r.mu.Unlock()
	if cancel != nil {
		cancel(ErrCancelled)
	}
	return q, nil
}

// carryOut brings a request to its end, or to where the appliance stops.
func (r *Runner) carryOut(ctx context.Context, q Request) {
	log := r.log.With("request", q.ID, "kind", q.Kind, "machine", q.Machine)
	plan, ok := r.plans[q.Kind]
	if !ok {
		r.finish(q, plan, Failed, &Problem{Code: "unsupported", Detail: fmt.Sprintf("this appliance cannot %s", q.Kind)}, log)
		return
	}
	q, err := r.begin(q, plan)
	if err != nil {
		log.Error("request not begun", "error", err)
		return
	}
	if q.Cancelling {
		ctx = cancelledContext(ctx)
	}
	problem := q.Error // set when the undo was already under way
	if problem == nil {
		err = r.steps(ctx, &q, plan.Steps, false, log)
		if errors.Is(err, errShutdown) {
			return
		}
		if err == nil {
			r.finish(q, plan, Done, nil, log)
			return
		}
		problem = problemOf(err)
		if q, err = r.book.change(r.base, q.ID, func(q *Request) error { q.Error = problem; return nil }); err != nil {
			log.Error("failure not recorded", "error", err)
			return
		}
	}
	r.undo(q, plan, problem, log)
}

// undo cleans up after a problem and ends the request.
func (r *Runner) undo(q Request, plan Plan, problem *Problem, log *slog.Logger) {
	end := Failed
	if q.Cancelling && problem.Code == "cancelled" { // a machine may say so too
		end = Cancelled
	}
	log.Warn("request undone", "code", problem.Code, "detail", problem.Detail)
	err := r.steps(r.base, &q, plan.Undo, true, log)
	if errors.Is(err, errShutdown) {
		return
	}
	if err != nil {
		end = Failed
		left := problemOf(err)
		problem = &Problem{Code: left.Code, Person: true, Action: left.Action,
			Detail: fmt.Sprintf("%s; and cleaning up failed: %s", problem.Detail, left.Detail)}
	}
	r.finish(q, plan, end, problem, log)
}

func (r *Runner) finish(q Request, plan Plan, end Status, p *Problem, log *slog.Logger) {
	ended, err := r.book.end(r.base, q.ID, end, p, func(m *asset.Machine) error {
		if plan.Settle == nil {
			return nil
		}
		return plan.Settle(m, end, p, r.book.now())
	}, r.alert)
	if err != nil {
		r.stuck(q, end, err, log)
		return
	}
	r.live.forget(q.ID)
	log.Info("request ended", "status", end, "seconds", r.book.now().Sub(q.Created).Seconds())
	if p := ended.Error; p != nil && p.Person {
		log.Warn("alert: a person is needed", "code", p.Code, "detail", p.Detail, "action", p.Action)
	}
}

// stuck tells people of a request whose end could not be recorded: its machine
// stays locked until an appliance can.
func (r *Runner) stuck(q Request, end Status, cause error, log *slog.Logger) {
	if r.base.Err() != nil {
		return // the next appliance ends it
	}
	log.Error("request's end not recorded", "status", end, "error", cause)
	q.Error = &Problem{Code: "request-stuck", Person: true,
		Detail: fmt.Sprintf("the %s of machine %s came to its end (%s), which could not be recorded: %v", q.Kind, q.Machine, end, cause),
		Action: "the machine stays locked: restart the appliance, which ends the request anew; report it if it comes again"}
	err := r.book.db.Update(r.base, func(tx *store.Tx) error { return r.book.raise(tx, r.alert, q) })
	if err != nil {
		log.Error("alert not recorded", "code", q.Error.Code, "error", err)
	}
}

// begin records that the request runs and lays out its steps. A cancellation
// does not keep it from that: it says itself whether there was one.
func (r *Runner) begin(q Request, plan Plan) (Request, error) {
	return r.book.change(r.base, q.ID, func(q *Request) error {
		q.Status = Running
		if q.Began.IsZero() {
			q.Began = r.book.now()
		}
		for _, s := range plan.Steps {
			if q.find(s.Name, false) == nil {
				q.Steps = append(q.Steps, Step{Name: s.Name, Status: Queued})
			}
		}
		for i := range q.Steps {
			if q.Steps[i].Status == Running {
				q.Steps[i].Resumed++
			}
		}
		return nil
	})
}

func cancelledContext(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(ErrCancelled)
	return ctx
}

// problemOf makes a Problem of any error.
func problemOf(err error) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p.advised()
	case errors.Is(err, ErrCancelled):
		return &Problem{Code: "cancelled", Detail: "cancelled on request"}
	case errors.Is(err, context.DeadlineExceeded):
		return (&Problem{Code: "deadline", Detail: err.Error(), Retry: true, Person: true}).advised()
	}
	return (&Problem{Code: "internal", Detail: err.Error(), Person: true}).advised()
}
