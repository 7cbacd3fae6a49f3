package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
)

const (
	// eventGap is the least time between two looks at the pod for one stream:
	// hundreds of machines that report their progress are one look.
	eventGap = 250 * time.Millisecond
	// eventRequests is how many requests a stream shows besides those that have
	// not ended.
	eventRequests = 50
	// eventResolved is how long a stream shows an alert that was resolved.
	eventResolved = time.Hour
)

// The types of event, which are also what may have changed.
const (
	machineEvent = "machine"
	requestEvent = "request"
	alertEvent   = "alert"
)

// event is one message of the event stream. value is what it shows, and mark
// differs if that does; an empty one says nothing.
type event struct {
	kind, id string
	mark     string
	value    any
}

// stream is one follower of the event stream.
type stream struct {
	s    *Server
	w    http.ResponseWriter
	only string // a machine, or empty for all
	// sent is what was sent of each kind and ID: its mark, or its JSON.
	sent map[string]map[string]string
}

// serveEvents streams the state of the pod: first everything as it stands, then
// each thing again when it changes, and that it is gone when it is. A client that
// reconnects therefore misses nothing, and needs no memory of what it saw. The
// event types are machine, request, alert, gone (with a kind and an ID) and ready
// (everything was sent once).
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	machines, stopM := s.Assets.Watch()
	defer stopM()
	requests, stopR := s.Book.Watch()
	defer stopR()
	alerts, stopA := s.Alerts.Watch()
	defer stopA()
	live, stopL := s.Live.Watch()
	defer stopL()
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	f := &stream{s: s, w: w, only: r.URL.Query().Get("machine"), sent: map[string]map[string]string{}}
	changed := map[string]bool{machineEvent: true, requestEvent: true, alertEvent: true}
	for first := true; ; first = false {
		if err := f.send(r.Context(), changed); err != nil {
			return
		}
		if first {
			fmt.Fprint(w, "event: ready\ndata: {}\n\n")
		}
		if rc.Flush() != nil {
			return
		}
		clear(changed)
		gap := time.After(eventGap)
		for waited := false; !waited || len(changed) == 0; {
			select {
			case <-r.Context().Done():
				return
			case <-gap:
				waited = true
			case <-machines:
				changed[machineEvent] = true
			case <-requests:
				changed[requestEvent] = true
			case <-live:
				changed[requestEvent] = true
			case <-alerts:
				changed[alertEvent] = true
			case <-beat.C:
				if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil || rc.Flush() != nil {
					return
				}
			}
		}
	}
}

// send sends what is not as it was sent last, of the kinds that have changed.
func (f *stream) send(ctx context.Context, changed map[string]bool) error {
	for _, kind := range []string{machineEvent, requestEvent, alertEvent} {
		if !changed[kind] {
			continue
		}
		events, err := f.s.snapshot(ctx, kind, f.only)
		if err != nil {
			return err
		}
		there := make(map[string]string, len(events))
		for _, e := range events {
			was, known := f.sent[kind][e.id]
			if there[e.id], err = f.sendOne(e, was, known); err != nil {
				return err
			}
		}
		for id := range f.sent[kind] {
			if _, still := there[id]; still {
				continue
			}
			if err := f.write("gone", map[string]string{"kind": kind, "id": id}); err != nil {
				return err
			}
		}
		f.sent[kind] = there
	}
	return nil
}

// sendOne sends e unless it is as it was, and returns what it is.
func (f *stream) sendOne(e event, was string, known bool) (is string, err error) {
	if known && e.mark != "" && e.mark == was {
		return was, nil
	}
	data, err := json.Marshal(e.value)
	if err != nil {
		return "", err
	}
	is = e.mark
	if is == "" {
		is = string(data)
	}
	if known && is == was {
		return is, nil
	}
	_, err = fmt.Fprintf(f.w, "event: %s\ndata: %s\n\n", e.kind, data)
	return is, err
}

func (f *stream) write(kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.w, "event: %s\ndata: %s\n\n", kind, data)
	return err
}

// snapshot is what a stream shows of a kind: the machines, the requests of late
// and all that have not ended, the alerts that are open or were resolved lately.
func (s *Server) snapshot(ctx context.Context, kind, only string) ([]event, error) {
	switch kind {
	case machineEvent:
		return s.machineEvents(ctx, only)
	case requestEvent:
		return s.requestEvents(ctx, only)
	}
	list, err := s.Alerts.List(ctx, true)
	if err != nil {
		return nil, err
	}
	var events []event
	for _, a := range list {
		if a.Resolved.IsZero() || s.Now().Sub(a.Resolved) < eventResolved {
			events = append(events, event{kind: alertEvent, id: a.ID, value: a})
		}
	}
	return events, nil
}

func (s *Server) machineEvents(ctx context.Context, only string) (events []event, err error) {
	var list []asset.Machine
	if only == "" {
		list, err = s.Assets.Machines(ctx)
	} else {
		list = make([]asset.Machine, 1)
		list[0], err = s.Assets.Machine(ctx, only)
		if errors.Is(err, asset.ErrNotFound) {
			return nil, nil // it may come
		}
	}
	for _, m := range list {
		events = append(events, event{machineEvent, m.ID, m.Created.String() + m.Updated.String(), m})
	}
	return events, err
}

func (s *Server) requestEvents(ctx context.Context, only string) (events []event, err error) {
	list, err := s.Book.List(ctx, only, eventRequests)
	if err != nil {
		return nil, err
	}
	open, err := s.Book.Open(ctx)
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, r := range list {
		listed[r.ID] = true
	}
	add := func(r change.Request) {
		e := event{kind: requestEvent, id: r.ID, value: s.viewRequest(r)}
		if r.Status.Ended() {
			e.mark = r.Ended.String()
		}
		events = append(events, e)
	}
	for _, r := range open { // oldest first
		if !listed[r.ID] && (only == "" || r.Machine == only) {
			add(r)
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		add(list[i])
	}
	return events, nil
}

// events registers the event stream in the API's document.
func (s *Server) events(api huma.API) {
	api.OpenAPI().AddOperation(&huma.Operation{OperationID: "events", Method: http.MethodGet, Path: "/v1/events",
		Summary: "Follow the pod by server-sent events", Tags: []string{"status"},
		Description: "Sends every machine, recent request and alert once, then `ready`, then each again when it changes, at most four times a second. " +
			"Event types: machine, request, alert, ready, and gone, whose data names the kind and the ID of what is no longer there."})
}
