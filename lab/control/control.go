// Package control is how `gantry lab` commands reach a lab that runs in another
// process, its supervisor: HTTP with JSON over a Unix socket that only root may
// use, on one computer and between equal versions.
//
//	GET    /status                         lab.Status
//	POST   /down
//	POST   /outlets/{number}               Switch
//	POST   /machines/{name}/plugged        Switch
//	POST   /machines/{name}/kill
//	POST   /faults                         lab.Fault
//	DELETE /faults
//	POST   /appliance/{start|restart|kill}
//
// A refusal has a status of 4xx or 5xx and a [Problem].
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gantry-pod/gantry/lab"
)

// Switch is a thing's wanted position.
type Switch struct {
	On bool `json:"on"`
}

// Problem is a refusal's body.
type Problem struct {
	Detail string `json:"detail"`
}

// maxBody bounds a request or an answer, in bytes.
const maxBody = 1 << 20

// statusOf is the HTTP status for an error of the lab's, and causeOf is its
// inverse, so that errors.Is works across the socket.
func statusOf(err error) int {
	switch {
	case errors.Is(err, lab.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, lab.ErrBadFault):
		return http.StatusBadRequest
	case errors.Is(err, lab.ErrNoAppliance):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func causeOf(status int) error {
	return map[int]error{
		http.StatusNotFound:   lab.ErrNotFound,
		http.StatusBadRequest: lab.ErrBadFault,
		http.StatusConflict:   lab.ErrNoAppliance,
	}[status]
}

// RemoteError is a refusal by the supervisor.
type RemoteError struct {
	// Status is the HTTP status.
	Status int
	Detail string
}

// Error implements error.
func (e *RemoteError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("the lab answers %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Detail
}

// Unwrap is the lab's error behind it, if that is known.
func (e *RemoteError) Unwrap() error { return causeOf(e.Status) }

// respond writes v, or the problem that err is.
func respond(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(statusOf(err))
		v = Problem{Detail: err.Error()}
	}
	// The only error is a client that left.
	_ = json.NewEncoder(w).Encode(v)
}
