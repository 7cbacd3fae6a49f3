// Package api is the appliance's local HTTP API: what the gantry command, the
// status page and the technician's scripts use. It is REST under /v1 with an
// OpenAPI 3.1 document at /openapi.json, RFC 9457 problems as errors and
// server-sent events, and it decides nothing: it checks who asks, and asks the
// packages that do.
//
// It is served on a Unix socket, where the file's mode says who may use it, and
// optionally with TLS, where a bearer token does.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/appliance/power"
)

// Library is the image library, as the API needs it.
type Library interface {
	List(ctx context.Context) ([]Image, error)
	Show(ctx context.Context, ref string) (Image, error)
	// Import reads an image from path, or from r if it is not nil.
	Import(ctx context.Context, spec ImportSpec, r io.Reader, progress func(done, total int64)) (Image, error)
	// Verify reads every byte of an image and compares it with the manifest.
	Verify(ctx context.Context, ref string, progress func(done, total int64)) error
	// Delete removes an image; inUse says which machines carry it.
	Delete(ctx context.Context, ref string, inUse []string) error
}

// PDUs shows and switches outlets for a technician.
type PDUs interface {
	Outlets(ctx context.Context, pdu string) ([]Outlet, error)
	Switch(ctx context.Context, pdu, outlet string, on bool) (Outlet, error)
}

// Server holds what the API speaks for.
type Server struct {
	Pod, Version string
	Assets       *asset.Registry
	Book         *change.Book
	Runner       *change.Runner
	Live         *change.Live
	Deploy       *deploy.Actuator
	Power        *power.Actuator
	Alerts       *alert.Desk
	Logs         *agent.Logbook
	Images       Library
	PDUs         PDUs
	Drivers      func() []Driver
	Metrics      http.Handler
	Ready        func() error
	Now          func() time.Time
	Log          *slog.Logger

	began     time.Time
	transfers transfers
}

// Handler builds the API's handler.
func (s *Server) Handler() http.Handler {
	s.began = s.Now()
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Gantry appliance", s.Version)
	config.Info.Description = "The local API of a pod's appliance. Changes answer 202 with a change request, whose steps can be followed at /v1/requests/{id} or live at /v1/events."
	config.DocsPath = "" // the documentation page would load scripts from another site
	config.CreateHooks = nil
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	api := humago.New(mux, config)
	s.machines(api)
	s.machineChanges(api)
	s.requests(api)
	s.images(api)
	s.pdus(api)
	s.alerts(api)
	s.status(api)
	s.events(api)
	mux.HandleFunc("GET /v1/events", s.serveEvents)
	mux.HandleFunc("GET /v1/machines/{id}/log", s.serveLog)
	mux.HandleFunc("PUT /v1/images/{name}/{version}", s.serveUpload)
	mux.Handle("GET /metrics", s.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, fmt.Sprintf("%s %s: no such operation; /openapi.json lists them", r.Method, r.URL.Path))
	})
	mux.Handle("/", page())
	return guard(mux)
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse turns an error of the packages below into a problem with a status.
func refuse(err error) error {
	var refusal *deploy.Refusal
	var outlet *power.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, asset.ErrNotFound), errors.Is(err, change.ErrNotFound), errors.Is(err, alert.ErrNotFound), errors.Is(err, ErrNoImage):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, asset.ErrLocked), errors.Is(err, asset.ErrExists), errors.Is(err, asset.ErrInUse), errors.Is(err, asset.ErrNoAddress),
		errors.Is(err, ErrConflict):
		return huma.Error409Conflict(err.Error())
	case errors.As(err, &refusal), errors.Is(err, asset.ErrInvalid), errors.Is(err, ErrBadInput):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.As(err, &outlet):
		return huma.Error502BadGateway(err.Error())
	}
	return huma.Error500InternalServerError(err.Error())
}

// ErrNoImage says that there is no such image, ErrConflict that the image is
// there already, in use, or too large, ErrBadInput that what was given cannot be
// used. Adapters wrap them.
var (
	ErrNoImage  = errors.New("not found")
	ErrConflict = errors.New("not possible now")
	ErrBadInput = errors.New("cannot be used")
)

// schemaName names a type in the API's document: as the type, and with its
// package in front if it is not of this one, as two packages may use a word.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if pkg := path.Base(t.PkgPath()); t.Name() != "" && t.PkgPath() != "" && pkg != "api" {
		return strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

// op describes an operation in one line.
func op(method, route, id, summary string, tag string, status int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: route, Summary: summary, Tags: []string{tag}, DefaultStatus: status}
}
