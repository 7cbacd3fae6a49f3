package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// PDUIn names a PDU in a path.
type PDUIn struct {
	ID string `path:"id" doc:"The PDU's name"`
}

// pdus registers what is about PDUs and outlets.
func (s *Server) pdus(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/pdus", "list-pdus", "List PDUs", "pdus", 200),
		func(ctx context.Context, _ *struct{}) (*struct{ Body []PDU }, error) {
			list, err := s.Assets.PDUs(ctx)
			out := []PDU{}
			for _, p := range list {
				out = append(out, PDU{ID: p.ID, Driver: p.Driver, Address: p.Address})
			}
			return &struct{ Body []PDU }{out}, refuse(err)
		})
	huma.Register(api, op(http.MethodGet, "/v1/pdus/{id}/outlets", "list-outlets", "Read a PDU's outlets", "pdus", 200),
		func(ctx context.Context, in *PDUIn) (*struct{ Body []Outlet }, error) {
			list, err := s.PDUs.Outlets(ctx, in.ID)
			return &struct{ Body []Outlet }{list}, refuse(err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/pdus/{id}/outlets/{outlet}/switch", "switch-outlet", "Switch an outlet that no machine in use hangs on", "pdus", 200),
		func(ctx context.Context, in *struct {
			PDUIn
			Outlet string `path:"outlet"`
			Body   struct {
				On    bool `json:"on"`
				Force bool `json:"force,omitempty" doc:"Even if the machine on it is in use"`
			}
		}) (*struct{ Body Outlet }, error) {
			if err := s.mayswitch(ctx, in.ID, in.Outlet, in.Body.Force); err != nil {
				return nil, err
			}
			s.Log.Info("outlet switched by hand", "pdu", in.ID, "outlet", in.Outlet, "on", in.Body.On, "by", caller(ctx))
			o, err := s.PDUs.Switch(ctx, in.ID, in.Outlet, in.Body.On)
			return &struct{ Body Outlet }{o}, refuse(err)
		})
}

// mayswitch refuses to cut the power of a machine that someone uses.
func (s *Server) mayswitch(ctx context.Context, pdu, outlet string, force bool) error {
	list, err := s.Assets.Machines(ctx)
	if err != nil {
		return refuse(err)
	}
	for _, m := range list {
		for _, f := range m.Power {
			if f.PDU != pdu || f.Outlet != outlet || force {
				continue
			}
			if m.Lock != "" {
				return huma.Error409Conflict(fmt.Sprintf("outlet %s of %s feeds machine %s, which request %s has; cancel that first, or force", outlet, pdu, m.ID, m.Lock))
			}
			if m.Status.State == machine.Active || m.Status.State == machine.Rescue {
				return huma.Error409Conflict(fmt.Sprintf("outlet %s of %s feeds machine %s, which is %s; use machine stop, or force", outlet, pdu, m.ID, m.Status.State))
			}
		}
	}
	return nil
}

// alerts registers what is about alerts.
func (s *Server) alerts(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/alerts", "list-alerts", "List alerts", "alerts", 200),
		func(ctx context.Context, in *struct {
			All bool `query:"all" doc:"Resolved ones too"`
		}) (*struct{ Body []alert.Alert }, error) {
			list, err := s.Alerts.List(ctx, in.All)
			return &struct{ Body []alert.Alert }{list}, refuse(err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/alerts/{id}/resolve", "resolve-alert", "Close an alert", "alerts", 200),
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*struct{ Body alert.Alert }, error) {
			a, err := s.Alerts.Resolve(ctx, in.ID, caller(ctx))
			return &struct{ Body alert.Alert }{a}, refuse(err)
		})
}

// status registers the pod at a glance.
func (s *Server) status(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/status", "status", "The pod at a glance", "status", 200),
		func(ctx context.Context, _ *struct{}) (*struct{ Body Status }, error) {
			machines, err := s.Assets.Machines(ctx)
			if err != nil {
				return nil, refuse(err)
			}
			open, err := s.Book.Open(ctx)
			if err != nil {
				return nil, refuse(err)
			}
			alerts, err := s.Alerts.List(ctx, false)
			if err != nil {
				return nil, refuse(err)
			}
			st := Status{Pod: s.Pod, Version: s.Version, Began: s.began, Now: s.Now(), Requests: len(open), Alerts: len(alerts),
				Drivers: s.Drivers(), Machines: map[machine.State]int{}}
			for _, m := range machines {
				st.Machines[m.Status.State]++
			}
			return &struct{ Body Status }{st}, nil
		})
}

// serveLog writes the last lines of a machine's log as text; with follow it
// goes on until the caller hangs up.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, err := s.Assets.Machine(r.Context(), id); err != nil {
		writeProblem(w, http.StatusNotFound, err.Error())
		return
	}
	n := 200
	if t := r.URL.Query().Get("tail"); t != "" {
		v, err := strconv.Atoi(t)
		if err != nil || v < 0 || v > 100000 {
			writeProblem(w, http.StatusUnprocessableEntity, fmt.Sprintf("tail=%q: must be a number from 0 to 100000", t))
			return
		}
		n = v
	}
	last, more, stop, err := s.Logs.Follow(id, n)
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer stop()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := bufio.NewWriter(w)
	for _, line := range last {
		fmt.Fprintln(out, line)
	}
	out.Flush()
	if r.URL.Query().Get("follow") == "" {
		return
	}
	rc := http.NewResponseController(w)
	for rc.Flush() == nil {
		select {
		case <-r.Context().Done():
			return
		case line := <-more:
			if _, err := fmt.Fprintln(w, line); err != nil {
				return
			}
		}
	}
}

// event is one message of the event stream.
type event struct {
	kind string
	id   string
	data []byte
}

// serveEvents streams the state of the pod: first everything as it stands, then
// each thing again when it changes. A client that reconnects therefore misses
// nothing, and needs no memory of what it saw. The event types are machine,
// request, alert and ready (everything was sent once).
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
	sent := map[string]string{}
	first := true
	for {
		if err := s.sendChanges(r.Context(), w, r.URL.Query().Get("machine"), sent); err != nil {
			return
		}
		if first {
			first = false
			fmt.Fprint(w, "event: ready\ndata: {}\n\n")
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-machines:
		case <-requests:
		case <-alerts:
		case <-live:
		case <-beat.C:
			fmt.Fprint(w, ": still here\n\n")
		}
	}
}

// sendChanges sends what is not as it was sent last.
func (s *Server) sendChanges(ctx context.Context, w http.ResponseWriter, only string, sent map[string]string) error {
	events, err := s.snapshot(ctx, only)
	if err != nil {
		return err
	}
	for _, e := range events {
		if sent[e.kind+"/"+e.id] == string(e.data) {
			continue
		}
		sent[e.kind+"/"+e.id] = string(e.data)
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.kind, e.data); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is the pod as events: its machines, the requests of late and the
// alerts that are open.
func (s *Server) snapshot(ctx context.Context, only string) (events []event, err error) {
	add := func(kind, id string, v any) {
		b, e := json.Marshal(v)
		if e != nil {
			err = e
		}
		events = append(events, event{kind, id, b})
	}
	machines, e := s.Assets.Machines(ctx)
	if e != nil {
		return nil, e
	}
	for _, m := range machines {
		if only == "" || m.ID == only {
			add("machine", m.ID, m)
		}
	}
	requests, e := s.Book.List(ctx, only, 50)
	if e != nil {
		return nil, e
	}
	for i := len(requests) - 1; i >= 0; i-- {
		add("request", requests[i].ID, s.viewRequest(requests[i]))
	}
	alerts, e := s.Alerts.List(ctx, true)
	if e != nil {
		return nil, e
	}
	for _, a := range alerts {
		add("alert", a.ID, a)
	}
	return events, err
}

// events registers the event stream in the API's document.
func (s *Server) events(api huma.API) {
	api.OpenAPI().AddOperation(&huma.Operation{OperationID: "events", Method: http.MethodGet, Path: "/v1/events",
		Summary: "Follow the pod by server-sent events", Tags: []string{"status"},
		Description: "Sends every machine, recent request and alert once, then `ready`, then each again when it changes. Event types: machine, request, alert, ready."})
}
