package api

import (
	"strings"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// Machine is a machine with what is being done to it.
type Machine struct {
	asset.Machine
	// Request is the change request that has it, if one has.
	Request *Request `json:"request,omitempty"`
}

// Request is a change request with where it stands at this moment.
type Request struct {
	change.Request
	Progress *change.Progress `json:"progress,omitempty"`
}

// Image is an image of the library.
type Image struct {
	Name         string    `json:"name"`
	Version      string    `json:"version"`
	Digest       string    `json:"digest"`
	OS           string    `json:"os,omitempty"`
	OSVersion    string    `json:"os_version,omitempty"`
	Arch         string    `json:"arch"`
	Firmware     string    `json:"firmware"`
	Format       string    `json:"format" doc:"disk or rootfs"`
	ServerKind   string    `json:"server_kind,omitempty" doc:"web, database, application or plain"`
	Applications []string  `json:"applications,omitempty"`
	MinMemory    int64     `json:"min_memory,omitempty" doc:"bytes"`
	MinDisk      int64     `json:"min_disk,omitempty" doc:"bytes"`
	Owner        string    `json:"owner,omitempty"`
	LicenceCost  string    `json:"licence_cost,omitempty" doc:"decimal amount and currency, a month"`
	Dedicated    bool      `json:"dedicated_only,omitempty"`
	Created      time.Time `json:"created"`
	Size         int64     `json:"size" doc:"bytes on the disk"`
	Data         int64     `json:"data" doc:"bytes of it that are not zero"`
	Stored       int64     `json:"stored" doc:"bytes in the library"`
}

// ImportSpec says what an image to import is.
type ImportSpec struct {
	Path         string   `json:"path,omitempty" doc:"File on the appliance, for its root only, or http(s) URL"`
	Device       bool     `json:"device,omitempty" doc:"The file may be a disk of the appliance"`
	Name         string   `json:"name" doc:"Image name: a-z, 0-9, -, ."`
	Version      string   `json:"version" doc:"Image version"`
	Format       string   `json:"format,omitempty" doc:"disk or rootfs; disk if empty" enum:"disk,rootfs,"`
	Checksum     string   `json:"checksum,omitempty" doc:"sha256:HEX of the file"`
	OS           string   `json:"os,omitempty"`
	OSVersion    string   `json:"os_version,omitempty"`
	Arch         string   `json:"arch,omitempty" doc:"amd64 or arm64; amd64 if empty" enum:"amd64,arm64,"`
	Firmware     string   `json:"firmware,omitempty" doc:"bios, uefi or both; both if empty" enum:"bios,uefi,both,"`
	ServerKind   string   `json:"server_kind,omitempty" doc:"web, database, application or plain"`
	Applications []string `json:"applications,omitempty"`
	MinMemory    int64    `json:"min_memory,omitempty" doc:"bytes"`
	MinDisk      int64    `json:"min_disk,omitempty" doc:"bytes"`
	Owner        string   `json:"owner,omitempty"`
	LicenceCost  string   `json:"licence_cost,omitempty"`
	Dedicated    bool     `json:"dedicated_only,omitempty"`
}

// Remote says whether the image is to be fetched from a URL, and not read from
// a file of the appliance.
func (s *ImportSpec) Remote() bool {
	return strings.HasPrefix(s.Path, "http://") || strings.HasPrefix(s.Path, "https://")
}

// PDU is a power distribution unit.
type PDU struct {
	ID      string `json:"id"`
	Driver  string `json:"driver"`
	Address string `json:"address"`
}

// Outlet is a switched socket of a PDU.
type Outlet struct {
	ID      string `json:"id"`
	Label   string `json:"label,omitempty"`
	State   string `json:"state" doc:"on, off, pending-on, pending-off, absent or unknown"`
	Machine string `json:"machine,omitempty" doc:"The machine that it feeds"`
}

// Driver is a driver process.
type Driver struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Kinds    []string `json:"kinds"`
	State    string   `json:"state"`
	Restarts int      `json:"restarts"`
	Error    string   `json:"error,omitempty"`
}

// Status is the pod at a glance.
type Status struct {
	Pod      string                `json:"pod"`
	Version  string                `json:"version"`
	Began    time.Time             `json:"began"`
	Now      time.Time             `json:"now"`
	Machines map[machine.State]int `json:"machines"`
	Requests int                   `json:"requests_open"`
	Alerts   int                   `json:"alerts_open"`
	Drivers  []Driver              `json:"drivers"`
}
