package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gantry-pod/gantry/lab"
)

// Serve gives clients control of a lab that is up until ctx is done or one of
// them asks for its end. It returns nil then, when no request is being
// answered any more; the caller closes the lab. It calls ready once, when
// clients can connect.
func Serve(ctx context.Context, l *lab.Lab, ready func()) error {
	path := lab.ControlSocket(l.Config().Name)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("lab control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("lab control: %w", err), listener.Close())
	}
	ctx, down := context.WithCancel(ctx)
	defer down()
	server := &http.Server{Handler: handler(l, down), ReadHeaderTimeout: 10 * time.Second}
	ready()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("lab control: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return fmt.Errorf("lab control: %w", err)
	}
	return nil
}

// handler lists all that a client may ask.
func handler(l *lab.Lab, down func()) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			respond(w, struct{}{}, do(r))
		})
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { respond(w, l.Status(), nil) })
	handle("POST /down", func(*http.Request) error {
		down()
		return nil
	})
	handle("POST /outlets/{number}", func(r *http.Request) error { return setOutlet(l, r) })
	handle("POST /machines/{name}/plugged", func(r *http.Request) error {
		var plugged Switch
		if err := decode(r, &plugged); err != nil {
			return err
		}
		return l.SetPlugged(r.Context(), r.PathValue("name"), plugged.On)
	})
	handle("POST /machines/{name}/kill", func(r *http.Request) error {
		m := l.Machine(r.PathValue("name"))
		if m == nil {
			return fmt.Errorf("machine %q: %w", r.PathValue("name"), lab.ErrNotFound)
		}
		return m.Kill()
	})
	handle("POST /faults", func(r *http.Request) error {
		var f lab.Fault
		if err := decode(r, &f); err != nil {
			return err
		}
		return l.Break(r.Context(), f)
	})
	handle("DELETE /faults", func(r *http.Request) error { return l.Mend(r.Context()) })
	handle("POST /appliance/start", func(*http.Request) error { return l.StartAppliance() })
	handle("POST /appliance/restart", func(r *http.Request) error { return l.RestartAppliance(r.Context()) })
	handle("POST /appliance/kill", func(r *http.Request) error { return l.KillAppliance(r.Context()) })
	return mux
}

func setOutlet(l *lab.Lab, r *http.Request) error {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil {
		return fmt.Errorf("outlet %q: %w", r.PathValue("number"), lab.ErrNotFound)
	}
	var want Switch
	if err := decode(r, &want); err != nil {
		return err
	}
	return l.Outlet(number).Set(want.On)
}

// decode reads a request's body strictly.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: request: %w", lab.ErrBadFault, err)
	}
	return nil
}
