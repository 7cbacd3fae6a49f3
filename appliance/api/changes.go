package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/appliance/machine"
)

type requestOut struct{ Body Request }

// ChangeIn is what every change takes.
type ChangeIn struct {
	MachineIn
	Key string `header:"Idempotency-Key" doc:"The same key from the same caller is the same request" maxLength:"200"`
}

// machineChanges registers what is done to a machine: each answers 202 with a
// change request.
func (s *Server) machineChanges(api huma.API) {
	huma.Register(api, op(http.MethodPost, "/v1/machines/{id}/deploy", "deploy-machine", "Write an image to a machine and configure it", "machines", 202),
		func(ctx context.Context, in *struct {
			ChangeIn
			Body deploy.Spec
		}) (*requestOut, error) {
			ask, admit, err := s.Deploy.AskDeploy(ctx, in.ID, in.Body)
			return s.submit(ctx, in.ChangeIn, ask, admit, err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/machines/{id}/rescue", "rescue-machine", "Start the rescue system on a machine; its disks are left alone", "machines", 202),
		func(ctx context.Context, in *struct {
			ChangeIn
			Body deploy.RescueSpec
		}) (*requestOut, error) {
			ask, admit, err := s.Deploy.AskRescue(in.ID, in.Body)
			return s.submit(ctx, in.ChangeIn, ask, admit, err)
		})
	simple := func(verb, summary string, ask func(id string) (change.Ask, change.Admit)) {
		huma.Register(api, op(http.MethodPost, "/v1/machines/{id}/"+verb, verb+"-machine", summary, "machines", 202),
			func(ctx context.Context, in *ChangeIn) (*requestOut, error) {
				a, admit := ask(in.ID)
				return s.submit(ctx, *in, a, admit, nil)
			})
	}
	simple("inspect", "Take a machine's inventory", s.Deploy.AskInspect)
	simple("release", "Wipe a machine and make it available", s.Deploy.AskRelease)
	simple("restore", "End a machine's maintenance: wipe it and make it available", s.Deploy.AskRestore)
	simple("unrescue", "Leave the rescue system and boot the disk", s.Deploy.AskUnrescue)
	for verb, k := range map[string]change.Kind{"restart": change.Restart, "start": change.Start, "stop": change.Stop} {
		simple(verb, "Switch an active machine: "+verb, func(id string) (change.Ask, change.Admit) { return s.Deploy.AskPower(k, id) })
	}
}

func (s *Server) submit(ctx context.Context, in ChangeIn, ask change.Ask, admit change.Admit, err error) (*requestOut, error) {
	if err != nil {
		return nil, refuse(err)
	}
	ask.By, ask.Key = caller(ctx), in.Key
	r, err := s.Runner.Submit(ctx, ask, admit)
	if err != nil {
		return nil, refuse(err)
	}
	return &requestOut{s.viewRequest(r)}, nil
}

type requestIn struct {
	ID string `path:"id" doc:"The request's ID"`
}

// requests registers what is about change requests.
func (s *Server) requests(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/requests", "list-requests", "List change requests, newest first", "requests", 200),
		func(ctx context.Context, in *struct {
			Machine string `query:"machine" doc:"Only of this machine"`
			Limit   int    `query:"limit" default:"50" minimum:"1" maximum:"1000"`
		}) (*struct{ Body []Request }, error) {
			list, err := s.Book.List(ctx, in.Machine, in.Limit)
			if err != nil {
				return nil, refuse(err)
			}
			out := make([]Request, len(list))
			for i, r := range list {
				out[i] = s.viewRequest(r)
			}
			return &struct{ Body []Request }{out}, nil
		})
	huma.Register(api, op(http.MethodGet, "/v1/requests/{id}", "show-request", "Show a change request", "requests", 200),
		func(ctx context.Context, in *requestIn) (*requestOut, error) {
			r, err := s.Book.Get(ctx, in.ID)
			return &requestOut{s.viewRequest(r)}, refuse(err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/requests/{id}/cancel", "cancel-request", "Stop a change request and undo what it did", "requests", 202),
		func(ctx context.Context, in *requestIn) (*requestOut, error) {
			if _, err := s.Book.Get(ctx, in.ID); err != nil {
				return nil, refuse(err)
			}
			r, err := s.Runner.Cancel(ctx, in.ID)
			return &requestOut{s.viewRequest(r)}, refuse(asRefusal(err))
		})
	huma.Register(api, op(http.MethodPost, "/v1/requests/{id}/retry", "retry-request", "Go on with a failed change request where it failed, or give it anew where it was undone", "requests", 202),
		func(ctx context.Context, in *requestIn) (*requestOut, error) { return s.retry(ctx, in.ID) })
}

// retry goes on with a failed request at the step that failed; one that was
// undone or called off is given anew. While the new one is at work, asking again
// gives that one.
func (s *Server) retry(ctx context.Context, id string) (*requestOut, error) {
	old, err := s.Book.Get(ctx, id)
	if err != nil {
		return nil, refuse(err)
	}
	if old.Status != change.Failed && old.Status != change.Cancelled {
		return nil, huma.Error409Conflict("request " + id + " is " + string(old.Status) + "; only one that failed or was cancelled can be given again")
	}
	if admit, ok := s.Deploy.AskAgain(old); ok {
		r, err := s.Runner.Retry(ctx, id, admit)
		if !errors.Is(err, change.ErrAnew) {
			return &requestOut{s.viewRequest(r)}, refuse(asRefusal(err))
		}
	}
	key, err := s.retryKey(ctx, id)
	if err != nil {
		return nil, refuse(err)
	}
	in := ChangeIn{MachineIn: MachineIn{ID: old.Machine}, Key: key}
	switch old.Kind {
	case change.Deploy:
		var spec deploy.Spec
		if err := s.decodeSpec(&old, &spec); err != nil {
			return nil, refuse(asRefusal(err))
		}
		ask, admit, err := s.Deploy.AskDeploy(ctx, old.Machine, spec)
		return s.submit(ctx, in, ask, admit, err)
	case change.Rescue:
		var spec deploy.RescueSpec
		if err := s.decodeSpec(&old, &spec); err != nil {
			return nil, refuse(asRefusal(err))
		}
		ask, admit, err := s.Deploy.AskRescue(old.Machine, spec)
		return s.submit(ctx, in, ask, admit, err)
	case change.Inspect:
		ask, admit := s.Deploy.AskInspect(old.Machine)
		return s.submit(ctx, in, ask, admit, nil)
	case change.Release:
		ask, admit := s.Deploy.AskRelease(old.Machine)
		return s.submit(ctx, in, ask, admit, nil)
	case change.Unrescue:
		ask, admit := s.Deploy.AskUnrescue(old.Machine)
		return s.submit(ctx, in, ask, admit, nil)
	}
	ask, admit := s.Deploy.AskPower(old.Kind, old.Machine)
	return s.submit(ctx, in, ask, admit, nil)
}

// retryKey is the idempotency key under which a request is given anew: the last
// one used, unless that retry has failed too.
func (s *Server) retryKey(ctx context.Context, id string) (string, error) {
	for n := 1; ; n++ {
		key := fmt.Sprintf("retry-%s-%d", id, n)
		r, err := s.Book.ByKey(ctx, caller(ctx), key)
		switch {
		case errors.Is(err, change.ErrNotFound):
			return key, nil
		case err != nil:
			return "", err
		case r.Status != change.Failed && r.Status != change.Cancelled:
			return key, nil
		}
	}
}

// decodeSpec decodes a request's specification with its secrets into v.
func (s *Server) decodeSpec(r *change.Request, v any) error {
	spec, err := s.Book.Spec(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(spec, v); err != nil {
		return fmt.Errorf("stored specification: %w", err)
	}
	return nil
}

func (s *Server) viewRequest(r change.Request) Request {
	r.Spec, _ = change.Redact(r.Spec) // one of an older appliance has its secrets in it
	r.Sealed = nil
	v := Request{Request: r}
	if p, ok := s.Live.Last(r.ID); ok && !r.Status.Ended() {
		v.Progress = &p
	}
	return v
}

// asRefusal makes an error about a transition, or about a request that ended,
// one of the caller's.
func asRefusal(err error) error {
	var te *machine.TransitionError
	if errors.As(err, &te) || errors.Is(err, change.ErrEnded) || errors.Is(err, change.ErrSecretsGone) {
		return &deploy.Refusal{Err: err}
	}
	return err
}
