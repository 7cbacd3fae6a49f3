package api

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"

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
