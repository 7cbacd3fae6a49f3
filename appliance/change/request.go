// Package change keeps change requests: the durable record of one thing asked
// for and of all that became of it. It owns the requests table and the
// [Runner] that carries requests out as persisted steps.
//
// What always holds: a request and the lock on its machine are committed in one
// transaction, and so are its end, the lock's release and the alert, if a person
// is needed; one that leaves its machine broken needs one. A step is recorded
// before it begins and after it ended. A request that ended never changes, but
// that one that failed may go on at the step that failed ([Runner.Retry]).
package change

import (
	"encoding/json"
	"time"

	"github.com/gantry-pod/gantry/store"
)

// Kind is what a request asks for.
type Kind string

// The kinds of change request that an appliance carries out.
const (
	Inspect  Kind = "inspect"
	Deploy   Kind = "deploy"
	Restart  Kind = "restart"
	Start    Kind = "start"
	Stop     Kind = "stop"
	Release  Kind = "release"
	Rescue   Kind = "rescue"
	Unrescue Kind = "unrescue"
)

// Status is where a request stands.
type Status string

// The states of a request; the last three are ends.
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Done      Status = "done"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Ended says whether nothing more will happen to the request.
func (s Status) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// Request is one thing asked for.
type Request struct {
	// ID is a ULID: sortable by time.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Machine is the asset that it is about, and whose lock it holds.
	Machine string `json:"machine"`
	// Spec is what is asked for, by the kind, without its secrets; see Book.Spec.
	Spec json.RawMessage `json:"spec,omitempty"`
	// Hidden says that something of Spec is not shown, and Sealed is all of it,
	// encrypted, for as long as it is needed.
	Hidden bool   `json:"hidden,omitempty"`
	Sealed []byte `json:"sealed,omitempty" hidden:"true"`
	// Key is the caller's idempotency key; a second request with the same key is
	// the first one.
	Key string `json:"key,omitempty"`
	// By is who asked.
	By string `json:"by"`
	// Status is where it stands.
	Status Status `json:"status"`
	// Cancelling is set when someone asked for it to stop.
	Cancelling bool `json:"cancelling,omitempty"`
	// Steps are what is done for it, in order; those that were needed to clean
	// up after a failure follow them.
	Steps []Step `json:"steps"`
	// Error says why it failed.
	Error *Problem `json:"error,omitempty"`
	// Created, Began and Ended are its times.
	Created time.Time `json:"created"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Step is one part of carrying a request out.
type Step struct {
	// Name is a short verb, such as "boot" or "write".
	Name string `json:"name"`
	// Status is Queued, Running, Done or Failed.
	Status Status `json:"status"`
	// Undo says that the step cleans up after a failure or a cancellation.
	Undo bool `json:"undo,omitempty"`
	// Attempt counts from 1; it grows when a failed step is tried again, not when
	// an interrupted one is resumed.
	Attempt int `json:"attempt,omitempty"`
	// Spent is how many attempts there were when the request was last given again;
	// they do not count against those that the step has.
	Spent int `json:"spent,omitempty"`
	// Resumed counts how often the appliance was restarted in the step's middle.
	Resumed int `json:"resumed,omitempty"`
	// Began and Ended are its times; Deadline is when it is given up.
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Phases are the parts that were reported from within the step.
	Phases []Phase `json:"phases,omitempty"`
	// Error says why the step failed, the last time that it did.
	Error *Problem `json:"error,omitempty"`
}

// Phase is a part of a step, as the machine itself reports it.
type Phase struct {
	Name  string    `json:"name"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"`
}

// Problem says why something failed and what to do about it.
type Problem struct {
	// Code is stable and for programs.
	Code string `json:"code"`
	// Detail names what, where and why.
	Detail string `json:"detail"`
	// Action is what a person should do next.
	Action string `json:"action,omitempty"`
	// Retry says that trying again may help.
	Retry bool `json:"retry,omitempty"`
	// Person says that a person is needed: an alert was raised.
	Person bool `json:"person,omitempty"`
	// Subject is what the alert is about; the request's machine if empty.
	Subject string `json:"subject,omitempty"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// advised returns p with something to do, where it says nothing of its own.
func (p *Problem) advised() *Problem {
	if p.Action != "" {
		return p
	}
	q := *p
	switch p.Code {
	case "deadline":
		q.Action = "look at the machine's console and log; if the work is only slow, give it more time (times in the appliance's configuration)"
	case "internal":
		q.Action = "see the appliance's log; report it if it comes again"
	}
	return &q
}

// forPerson returns p as one that a person is needed for.
func (p *Problem) forPerson() *Problem {
	q := *p.advised()
	q.Person = true
	if q.Action == "" {
		q.Action = "look at the machine; then release it, or put it into maintenance"
	}
	return &q
}

// Tables are the tables of this package.
type Tables struct {
	requests  *store.Table[Request]
	byMachine *store.Index[Request]
	byKey     *store.Index[Request]
	open      *store.Index[Request]
}

// RequestsTable is the name under which changes to requests are watched.
const RequestsTable = "requests"

// NewTables declares the tables.
func NewTables() *Tables {
	r := store.NewTable(RequestsTable, 1, func(r *Request) store.Key { return store.K(r.ID) })
	return &Tables{
		requests:  r,
		byMachine: store.NewIndex(r, "machine", func(r *Request) []store.Key { return []store.Key{store.K(r.Machine, r.ID)} }, false),
		byKey: store.NewIndex(r, "key", func(r *Request) []store.Key {
			if r.Key == "" {
				return nil
			}
			return []store.Key{store.K(r.By, r.Key)}
		}, true),
		open: store.NewIndex(r, "open", func(r *Request) []store.Key {
			if r.Status.Ended() {
				return nil
			}
			return []store.Key{store.K(r.ID)}
		}, false),
	}
}

// Schemas lists the tables for store.Open.
func (t *Tables) Schemas() []store.Schema { return []store.Schema{t.requests} }

// find returns the step called name.
func (r *Request) find(name string, undo bool) *Step {
	for i := range r.Steps {
		if r.Steps[i].Name == name && r.Steps[i].Undo == undo {
			return &r.Steps[i]
		}
	}
	return nil
}
