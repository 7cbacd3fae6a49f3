package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

type machineOut struct{ Body Machine }

// MachineIn names a machine in a path.
type MachineIn struct {
	ID string `path:"id" doc:"The machine's name"`
}

// machines registers what is about the inventory.
func (s *Server) machines(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/machines", "list-machines", "List machines", "machines", 200),
		func(ctx context.Context, in *struct {
			State string `query:"state" doc:"Only machines in this state"`
		}) (*struct{ Body []Machine }, error) {
			list, err := s.Assets.Machines(ctx)
			if err != nil {
				return nil, refuse(err)
			}
			out := []Machine{}
			for _, m := range list {
				if in.State == "" || in.State == string(m.Status.State) {
					out = append(out, s.view(ctx, m))
				}
			}
			return &struct{ Body []Machine }{out}, nil
		})
	huma.Register(api, op(http.MethodGet, "/v1/machines/{id}", "show-machine", "Show a machine", "machines", 200),
		func(ctx context.Context, in *MachineIn) (*machineOut, error) { return s.shown(ctx, in.ID) })
	inventory := op(http.MethodPost, "/v1/inventory", "import-inventory", "Import an inventory file (YAML)", "machines", 200)
	inventory.MaxBodyBytes = asset.MaxFile
	huma.Register(api, inventory,
		func(ctx context.Context, in *struct {
			RawBody []byte `contentType:"application/yaml"`
		}) (*struct{ Body asset.Imported }, error) {
			f, err := asset.ParseFile(in.RawBody)
			if err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
			done, err := s.Assets.Import(ctx, f)
			return &struct{ Body asset.Imported }{done}, refuse(err)
		})
	huma.Register(api, op(http.MethodDelete, "/v1/machines/{id}", "delete-machine", "Take a machine out of the inventory", "machines", 204),
		func(ctx context.Context, in *struct {
			MachineIn
			Force bool `query:"force" doc:"Even if its disks were not wiped"`
		}) (*struct{}, error) {
			return nil, refuse(s.Assets.Delete(ctx, in.ID, in.Force))
		})
	huma.Register(api, op(http.MethodPost, "/v1/machines/{id}/maintain", "maintain-machine", "Take a machine out of use for maintenance", "machines", 200),
		func(ctx context.Context, in *struct {
			MachineIn
			Body struct {
				Reason string `json:"reason" doc:"Why, for whoever looks next" minLength:"1" maxLength:"500"`
			}
		}) (*machineOut, error) {
			err := s.Assets.Change(ctx, in.ID, func(_ *store.Tx, m *asset.Machine) error {
				if m.Lock != "" {
					return fmt.Errorf("machine %s: request %s has it: %w", m.ID, m.Lock, asset.ErrLocked)
				}
				return m.Apply(machine.Event{Kind: machine.Maintain, Reason: in.Body.Reason}, s.Now())
			})
			if err != nil {
				return nil, refuse(asRefusal(err))
			}
			return s.shown(ctx, in.ID)
		})
	s.registerAccept(api)
}

// registerAccept registers the acceptance of a machine, which begins its
// inspection if it had none.
func (s *Server) registerAccept(api huma.API) {
	huma.Register(api, op(http.MethodPost, "/v1/machines/{id}/accept", "accept-machine", "Vouch for a machine, so that it can be used", "machines", 200),
		func(ctx context.Context, in *struct {
			MachineIn
			Body struct {
				Owner string       `json:"owner,omitempty" doc:"Who owns the hardware"`
				Power []asset.Feed `json:"power,omitempty" doc:"The outlets that feed it; as they are if empty"`
			}
		}) (*machineOut, error) {
			err := s.Assets.Accept(ctx, in.ID, in.Body.Owner, in.Body.Power)
			if err != nil {
				return nil, refuse(asRefusal(err))
			}
			m, err := s.Assets.Machine(ctx, in.ID)
			if err == nil && m.Status.State == machine.Discovered && m.Lock == "" {
				ask, admit := s.Deploy.AskInspect(in.ID)
				ask.By = caller(ctx)
				_, err = s.Runner.Submit(ctx, ask, admit)
			}
			if err != nil {
				return nil, refuse(err)
			}
			return s.shown(ctx, in.ID)
		})
}

func (s *Server) shown(ctx context.Context, id string) (*machineOut, error) {
	m, err := s.Assets.Machine(ctx, id)
	if err != nil {
		return nil, refuse(err)
	}
	return &machineOut{s.view(ctx, m)}, nil
}

// view adds to a machine what is being done to it.
func (s *Server) view(ctx context.Context, m asset.Machine) Machine {
	v := Machine{Machine: m}
	if m.Lock == "" {
		return v
	}
	if r, err := s.Book.Get(ctx, m.Lock); err == nil {
		q := s.viewRequest(r)
		v.Request = &q
	}
	return v
}
