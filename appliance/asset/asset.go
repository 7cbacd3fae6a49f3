// Package asset is the inventory of a pod: machines, PDUs and which outlet
// feeds what, who owns them, and where each machine stands in its life. It owns
// those tables of the appliance's store; every other package reads and changes
// them through it. What always holds: a MAC address, an address and an outlet
// belong to at most one machine, and a machine is locked by at most one change
// request.
package asset

import (
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Machine is a physical computer of the pod.
type Machine struct {
	// ID is its name in the pod: a DNS label, unique, and never changed.
	ID string `json:"id"`
	// Owner is the account or provider that owns the hardware.
	Owner string `json:"owner,omitempty"`
	// UUID is SMBIOS' system UUID, lower case, once known.
	UUID string `json:"uuid,omitempty"`
	// MACs are its NICs' addresses, lower case with colons; the first is the one
	// that it boots from.
	MACs []string `json:"macs"`
	// Power are the outlets that feed it.
	Power []Feed `json:"power,omitempty"`
	// Address is its address on the provisioning network.
	Address netip.Addr `json:"address"`
	// Accepted says that a technician (or the inventory file) vouches for it.
	Accepted bool `json:"accepted"`
	// Status is where it stands in its life.
	Status machine.Status `json:"status"`
	// Former is, during an inspection or a rescue, where it stood before that was
	// asked for: where it comes back to if that is called off.
	Former machine.Status `json:"former,omitzero"`
	// Dirty says that its disks may hold something that no wipe has removed.
	Dirty bool `json:"dirty"`
	// Lock is the ID of the change request that has it, or empty.
	Lock string `json:"lock,omitempty"`
	// Inventory is what the last inspection found.
	Inventory *job.Inventory `json:"inventory,omitempty"`
	// Server is what was deployed on it; nil when nothing is.
	Server *Server `json:"server,omitempty"`
	// Wiped are the certificates of the last wipe.
	Wiped []job.WipedDisk `json:"wiped,omitempty"`
	// Imported is a digest of what the inventory file said of it when it was last
	// imported.
	Imported string `json:"imported,omitempty"`
	// Notes are the technician's.
	Notes string `json:"notes,omitempty"`
	// Created and Updated are when the record was made and last changed.
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// Feed is an outlet that feeds a machine.
type Feed struct {
	PDU    string `json:"pdu"`
	Outlet string `json:"outlet"`
}

// Server is what runs on a machine.
type Server struct {
	Hostname string `json:"hostname"`
	// Image is NAME:VERSION, Digest its manifest's digest.
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// Users who may log in with a key.
	Users []string `json:"users,omitempty"`
	// HostKeys are the public SSH host keys made at deployment.
	HostKeys []string `json:"host_keys,omitempty"`
	// Disk is the root disk's path when it was written, DiskSerial its serial number.
	Disk       string    `json:"disk,omitempty"`
	DiskSerial string    `json:"disk_serial,omitempty"`
	Deployed   time.Time `json:"deployed"`
}

// PDU is a power distribution unit.
type PDU struct {
	// ID is its name in the pod, unique.
	ID string `json:"id"`
	// Driver is the name of the driver that talks to it, such as "pdu-snmp".
	Driver string `json:"driver"`
	// Address is HOST:PORT.
	Address string `json:"address"`
	// Config is the driver's configuration for this device, by the driver's
	// schema. It may hold secrets and is never shown or logged.
	Config Secret `json:"config"`
}

// Secret is JSON that is stored and never shown.
type Secret []byte

// String hides the secret from %v and %s.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "asset.Secret(hidden)" }

// BootMAC is the address that m boots from, or "".
func (m *Machine) BootMAC() string {
	if len(m.MACs) == 0 {
		return ""
	}
	return m.MACs[0]
}
