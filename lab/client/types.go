package client

import (
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Machine is what the lab looks at of a machine of the inventory.
type Machine struct {
	ID      string     `json:"id"`
	UUID    string     `json:"uuid"`
	MACs    []string   `json:"macs"`
	Address netip.Addr `json:"address"`
	Status  struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
		// Since is when it came to stand there.
		Since time.Time `json:"since"`
	} `json:"status"`
	Dirty     bool           `json:"dirty"`
	Lock      string         `json:"lock"`
	Inventory *job.Inventory `json:"inventory"`
	// Server is what was deployed on it; nil when nothing is.
	Server *struct {
		Hostname string   `json:"hostname"`
		Image    string   `json:"image"`
		HostKeys []string `json:"host_keys"`
		Disk     string   `json:"disk"`
	} `json:"server"`
	Wiped []job.WipedDisk `json:"wiped"`
}

// Request is what the lab looks at of a change request.
type Request struct {
	ID         string   `json:"id"`
	Kind       string   `json:"kind"`
	Machine    string   `json:"machine"`
	Status     string   `json:"status"`
	Cancelling bool     `json:"cancelling"`
	Steps      []Step   `json:"steps"`
	Error      *Problem `json:"error"`
	// EndedAt is when it ended; zero until then.
	EndedAt time.Time `json:"ended"`
}

// Ended says whether nothing more will happen to the request.
func (r Request) Ended() bool {
	return r.Status == "done" || r.Status == "failed" || r.Status == "cancelled"
}

// Code is why the request failed, in one word, or "".
func (r Request) Code() string {
	if r.Error == nil {
		return ""
	}
	return r.Error.Code
}

// Step is one part of carrying a request out.
type Step struct {
	Name    string `json:"name"`
	Status  string `json:"status"`
	Undo    bool   `json:"undo"`
	Attempt int    `json:"attempt"`
	Resumed int    `json:"resumed"`
	Phases  []struct {
		Name string `json:"name"`
	} `json:"phases"`
	Error *Problem `json:"error"`
}

// Problem says why something failed.
type Problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Retry  bool   `json:"retry"`
	Person bool   `json:"person"`
}

// Alert calls a person.
type Alert struct {
	Code    string `json:"code"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	// Request is the change request that met it, if any; Last is when it
	// happened last.
	Request string    `json:"request"`
	Last    time.Time `json:"last"`
}

// Image is an image of the library.
type Image struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	Data    int64  `json:"data"`
}
