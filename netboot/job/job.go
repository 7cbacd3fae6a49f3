// Package job is the wire contract between a machine that runs the netboot
// agent and the appliance of its pod: JSON over HTTP, version 1.
//
// The agent (PID 1 of the netboot initramfs) reads the appliance's address and
// its one boot's token from the kernel command line, says [Hello], and from
// then on asks for one [Job] at a time, sends [Report]s while it works, and
// asks again. The appliance decides everything; the agent decides nothing but
// how. Nothing here has behaviour beyond validation, and the package imports
// nothing of this module, so both sides can depend on it.
//
// Endpoints, all under the server URL, all with "Authorization: Bearer TOKEN":
//
//	POST /agent/v1/hello             Hello    -> Welcome   (boot token; spent by it)
//	GET  /agent/v1/job?after=JOB-ID  -> 200 Job, or 204 after about 20 s of none (session token)
//	POST /agent/v1/jobs/{id}/report  Report   -> Reply
//	POST /agent/v1/log               text/plain, one line an entry -> 204
//
// Errors are RFC 9457 problem details.
package job

import (
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Version is the protocol's version; Hello carries it and the appliance refuses
// one that it does not speak.
const Version = 1

// Kernel command line parameters that carry a boot's identity to the agent.
const (
	// ParamServer is the appliance's base URL, http://HOST:PORT without a path.
	ParamServer = "gantry.server"
	// ParamMachine is the machine's ID in the appliance.
	ParamMachine = "gantry.machine"
	// ParamToken is the boot token: one boot of one machine, spent by Hello.
	ParamToken = "gantry.token"
	// ParamBootIF is the MAC address that the firmware booted from, lower case
	// with colons; the agent brings up that interface first.
	ParamBootIF = "gantry.bootif"
)

// Hello is the agent's first call of a boot.
type Hello struct {
	// Protocol is Version.
	Protocol int `json:"protocol"`
	// Agent is the agent's build version, for the log.
	Agent string `json:"agent"`
	// Machine is the ID from the command line.
	Machine string `json:"machine"`
	// BootMAC is the MAC address of the interface that the machine booted from.
	BootMAC string `json:"boot_mac"`
	// UUID is SMBIOS' system UUID (System Information, type 1), lower case, as
	// the kernel shows it; empty if the firmware gives none.
	UUID string `json:"uuid,omitempty"`
	// MACs are the MAC addresses of all NICs found.
	MACs []string `json:"macs"`
}

// Welcome answers Hello.
type Welcome struct {
	// Session is the bearer token for every later call of this boot.
	Session string `json:"session"`
	// ReportEvery is how often at least the agent reports while it works.
	ReportEvery Duration `json:"report_every"`
}

// Kind says what a job is.
type Kind string

// The kinds of job.
const (
	// Inspect asks for an Inventory in the final report.
	Inspect Kind = "inspect"
	// Deploy writes, configures and verifies an image, as Job.Deploy says.
	Deploy Kind = "deploy"
	// Wipe erases disks as Job.Wipe says; the final report carries a certificate.
	Wipe Kind = "wipe"
	// Rescue starts an SSH server in the agent's own system for Job.Rescue's keys.
	Rescue Kind = "rescue"
	// Reboot restarts the machine at once, warm, after its report was acknowledged.
	Reboot Kind = "reboot"
	// PowerOff halts the machine and switches it off if the platform can.
	PowerOff Kind = "poweroff"
)

// Job is one thing for the agent to do. It is idempotent: an agent that is
// given the same job again after a restart starts it over and ends in the same
// state.
type Job struct {
	// ID is unique in the appliance and appears in every report.
	ID string `json:"id"`
	// Kind selects which of the fields below is set.
	Kind Kind `json:"kind"`
	// Deadline is when the appliance gives up on the job.
	Deadline time.Time    `json:"deadline"`
	Inspect  *InspectSpec `json:"inspect,omitempty"`
	Deploy   *DeploySpec  `json:"deploy,omitempty"`
	Wipe     *WipeSpec    `json:"wipe,omitempty"`
	Rescue   *RescueSpec  `json:"rescue,omitempty"`
}

// InspectSpec refines an inspection.
type InspectSpec struct {
	// LLDPWait is how long to listen for LLDP neighbours on NICs with link; 0
	// does not listen. A bridge sends LLDP every 30 s (IEEE 802.1AB 9.2.5.7).
	LLDPWait Duration `json:"lldp_wait"`
}

// DeploySpec is everything the agent needs to turn an empty machine into a
// configured one.
type DeploySpec struct {
	// Image is what to write.
	Image ImageRef `json:"image"`
	// Disk chooses the root disk. The zero value is the smallest disk that is
	// large enough.
	Disk DiskHint `json:"disk"`
	// Layout is nil for a whole-disk image, whose last partition and file system
	// are grown to the disk; set for a root-file-system image.
	Layout *Layout `json:"layout,omitempty"`
	// Config is what makes the system this server.
	Config Config `json:"config"`
	// ReadBack asks for every chunk to be read back from the disk and compared.
	ReadBack bool `json:"read_back"`
	// RateLimit bounds the transfer in bytes a second; 0 is no bound.
	RateLimit int64 `json:"rate_limit,omitempty"`
}

// ImageRef says where an image is and what it must be.
type ImageRef struct {
	// Name and Version are for messages.
	Name    string `json:"name"`
	Version string `json:"version"`
	// ManifestURL and DataURL are HTTP URLs on the appliance or on a peer.
	ManifestURL string `json:"manifest_url"`
	DataURL     string `json:"data_url"`
	// ManifestDigest is the BLAKE3-256 digest of the manifest's bytes, lower
	// case hex: what the appliance says is to be written, whoever serves it.
	ManifestDigest string `json:"manifest_digest"`
	// PublicKeys are ed25519 keys, base64, one of which must have signed it.
	PublicKeys []string `json:"public_keys"`
}

// DiskHint narrows the choice of a disk. All set fields must match.
type DiskHint struct {
	// Serial is the disk's serial number.
	Serial string `json:"serial,omitempty"`
	// WWN is its World Wide Name.
	WWN string `json:"wwn,omitempty"`
	// Path is the kernel's path, such as /dev/nvme0n1.
	Path string `json:"path,omitempty"`
	// MinBytes is the least size.
	MinBytes int64 `json:"min_bytes,omitempty"`
	// Rotational, if set, asks for (true) or refuses (false) a spinning disk.
	Rotational *bool `json:"rotational,omitempty"`
}

// Named says that the hint names one disk, and not only what it must be like.
func (h DiskHint) Named() bool { return h.Serial != "" || h.WWN != "" || h.Path != "" }

// Matches says that a disk has all that the hint sets, but for its size. One that
// a person may have plugged in, removable or on USB, is used only if the hint
// names it: USB disks seldom say that they are removable.
func (h DiskHint) Matches(d Disk) bool {
	switch {
	case (d.Removable || d.Transport == "usb") && !h.Named():
		return false
	case h.Serial != "" && h.Serial != d.Serial:
		return false
	case h.WWN != "" && !strings.EqualFold(h.WWN, d.WWN):
		return false
	case h.Path != "" && h.Path != d.Path:
		return false
	case h.Rotational != nil && *h.Rotational != d.Rotational:
		return false
	}
	return true
}

// Layout is a GPT that the agent makes, with file systems, for a
// root-file-system image.
type Layout struct {
	// RAID1 mirrors the layout over two disks; otherwise one disk is used.
	RAID1 bool `json:"raid1,omitempty"`
	// Partitions in disk order; at most one has Size 0, which takes the rest.
	Partitions []Partition `json:"partitions"`
}

// Partition is one entry of a Layout.
type Partition struct {
	// Name is the GPT partition name, at most 36 UTF-16 units.
	Name string `json:"name"`
	// Size in bytes, a multiple of 1 MiB; 0 takes what is left.
	Size int64 `json:"size"`
	// Use is "bios", "esp", "root", "swap", "lvm" or "data".
	Use string `json:"use"`
	// FS is "ext4", "xfs", "vfat", "swap" or "" for none.
	FS string `json:"fs,omitempty"`
	// Mount is the mount point, absolute; required for root and data.
	Mount string `json:"mount,omitempty"`
	// Volumes are logical volumes when Use is "lvm"; sizes as for partitions.
	Volumes []Partition `json:"volumes,omitempty"`
}

// Config makes a written image this server.
type Config struct {
	// Hostname is the fully qualified or short name (RFC 1123).
	Hostname string `json:"hostname"`
	// InstanceID is new for every deployment; cloud-init's per-instance key.
	InstanceID string `json:"instance_id"`
	// NICs to configure; a NIC not listed is left alone.
	NICs []NIC `json:"nics"`
	// DNS servers and search domains.
	DNS    []string `json:"dns,omitempty"`
	Search []string `json:"search,omitempty"`
	// Users to make; SSH keys may be given for root too.
	Users []User `json:"users"`
	// UserData is handed to cloud-init through the NoCloud seed as it is.
	UserData string `json:"user_data,omitempty"`
}

// NIC is one interface's addresses.
type NIC struct {
	// MAC names the interface.
	MAC string `json:"mac"`
	// DHCP asks for DHCPv4; otherwise Addresses are static.
	DHCP bool `json:"dhcp,omitempty"`
	// Addresses are in CIDR form.
	Addresses []string `json:"addresses,omitempty"`
	// Gateway is the default router, if it is on this NIC, of either family;
	// Gateway6 is IPv6's beside one of IPv4.
	Gateway  string `json:"gateway,omitempty"`
	Gateway6 string `json:"gateway6,omitempty"`
	// VLAN makes a tagged interface of this ID over the NIC; 0 is untagged.
	VLAN int `json:"vlan,omitempty"`
	// MTU in bytes; 0 leaves the default.
	MTU int `json:"mtu,omitempty"`
}

// User is an operating-system user.
type User struct {
	Name string `json:"name"`
	// PasswordHash is a crypt(5) string; empty locks the password.
	PasswordHash string `json:"password_hash,omitempty"`
	// SSHKeys are authorized_keys lines.
	SSHKeys []string `json:"ssh_keys,omitempty"`
	// Sudo permits sudo without a password.
	Sudo bool `json:"sudo,omitempty"`
}

// WipeSpec says what to erase and how well.
type WipeSpec struct {
	// Disks to wipe; empty is every disk that is neither removable nor on USB.
	Disks []DiskHint `json:"disks,omitempty"`
	// Method is "best" (the best that the disk offers: NVMe sanitize or format,
	// ATA secure erase, discard that reads back zero, else zeros over all of it)
	// or "zero" (zeros over all of it).
	Method string `json:"method"`
	// Quick has "best" try a discard first, if the disk offers one, and believe it
	// if a few samples read as zeros: for a disk that is about to be written.
	Quick bool `json:"quick,omitempty"`
}

// RescueSpec starts a rescue system.
type RescueSpec struct {
	// SSHKeys may log in as root.
	SSHKeys []string `json:"ssh_keys"`
}

// State is where a phase or a job stands.
type State string

// The states of a phase.
const (
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Report is one step of a job's progress. The job has ended when Final is set.
type Report struct {
	// Seq counts a boot's reports from 1, so a repeat is known.
	Seq int64 `json:"seq"`
	// Phase is a short name, such as "inspect", "wipe", "write", "grow",
	// "configure", "bootloader", "readback".
	Phase string `json:"phase"`
	// State of the phase.
	State State `json:"state"`
	// Message is one line for people.
	Message string `json:"message,omitempty"`
	// Done and Total are bytes, or 0 where they mean nothing.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Rate is bytes a second of late; Remaining is the time left at that rate.
	Rate      int64    `json:"rate,omitempty"`
	Remaining Duration `json:"remaining,omitempty"`
	// Elapsed is the time since the phase began.
	Elapsed Duration `json:"elapsed"`
	// Final ends the job; State is then Done or Failed.
	Final bool `json:"final,omitempty"`
	// Problem is set when State is Failed.
	Problem *Problem `json:"problem,omitempty"`
	// Result is set by a final report of success, by the job's kind.
	Result *Result `json:"result,omitempty"`
}

// Problem says what failed so that a person or a program can act.
type Problem struct {
	// Code is stable: "image-digest", "image-signature", "image-truncated",
	// "image-arch", "image-firmware", "disk-too-small", "disk-not-found", "disk-sector-size",
	// "disk-io", "network", "wipe-unverified", "configure", "bootloader",
	// "readback-mismatch", "deadline", "cancelled", "internal".
	Code string `json:"code"`
	// Detail names what, where and why.
	Detail string `json:"detail"`
	// Retry says that the same job may succeed if it is given again.
	Retry bool `json:"retry"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Reply answers a Report.
type Reply struct {
	// Cancel asks the agent to stop the job as soon as that is safe, and to send
	// a final report with code "cancelled".
	Cancel bool `json:"cancel,omitempty"`
}

// Result is what a job brought about.
type Result struct {
	Inventory *Inventory   `json:"inventory,omitempty"`
	Deploy    *Deployed    `json:"deploy,omitempty"`
	Wiped     []WipedDisk  `json:"wiped,omitempty"`
	Rescue    *RescueReady `json:"rescue,omitempty"`
}

// Deployed is the outcome of a Deploy job.
type Deployed struct {
	// Disk is the kernel path and Serial the serial number of the root disk.
	Disk   string `json:"disk"`
	Serial string `json:"serial,omitempty"`
	// Written and Fetched are bytes put on the disk and bytes that came over the
	// network; Size is the image's size on the disk.
	Written int64 `json:"written"`
	Fetched int64 `json:"fetched"`
	Size    int64 `json:"size"`
	// HostKeys are the public SSH host keys made on the machine, in
	// authorized_keys form. Their private halves never leave it.
	HostKeys []string `json:"host_keys"`
	// Phases are the seconds that each phase took, in order.
	Phases []PhaseTime `json:"phases"`
}

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Phase   string   `json:"phase"`
	Elapsed Duration `json:"elapsed"`
}

// WipedDisk is one disk's erasure certificate.
type WipedDisk struct {
	Path   string `json:"path"`
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	Bytes  int64  `json:"bytes"`
	// Method is what was done: "nvme-sanitize", "nvme-format", "ata-secure-erase",
	// "discard", "zero".
	Method string `json:"method"`
	// Verified says how it was read back: "full" or "sample".
	Verified string    `json:"verified"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
}

// RescueReady says how to log in to a rescue system.
type RescueReady struct {
	Address  string   `json:"address"`
	HostKeys []string `json:"host_keys"`
}

// String says where to log in, and by which host key that is known to be the
// machine's own rescue system.
func (r *RescueReady) String() string {
	line := "rescue system at root@" + r.Address
	for _, k := range r.HostKeys {
		if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err == nil {
			line += ", host key " + ssh.FingerprintSHA256(key)
		}
	}
	return line
}

// Inventory is what the machine is made of.
type Inventory struct {
	System   System `json:"system"`
	CPU      CPU    `json:"cpu"`
	Memory   int64  `json:"memory"` // bytes, as SMBIOS or else the kernel says
	Disks    []Disk `json:"disks"`
	NICs     []Link `json:"nics"`
	Firmware string `json:"firmware"` // "bios" or "uefi"
	// SecureBoot is set when the firmware enforces it.
	SecureBoot bool `json:"secure_boot,omitempty"`
}

// System is SMBIOS' type 1 and 2.
type System struct {
	Vendor  string `json:"vendor,omitempty"`
	Product string `json:"product,omitempty"`
	Serial  string `json:"serial,omitempty"`
	UUID    string `json:"uuid,omitempty"`
	BIOS    string `json:"bios,omitempty"`
}

// CPU describes the processors.
type CPU struct {
	Model   string `json:"model"`
	Arch    string `json:"arch"` // GOARCH: "amd64" or "arm64"
	Sockets int    `json:"sockets"`
	Cores   int    `json:"cores"`
	Threads int    `json:"threads"`
	MHz     int    `json:"mhz,omitempty"`
}

// Disk is one block device that a system could be written to.
type Disk struct {
	Path       string `json:"path"`
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	WWN        string `json:"wwn,omitempty"`
	Bytes      int64  `json:"bytes"`
	SectorSize int    `json:"sector_size"`
	Rotational bool   `json:"rotational"`
	Removable  bool   `json:"removable,omitempty"`
	Transport  string `json:"transport,omitempty"` // "nvme", "ata", "virtio", "scsi", "usb"
	Discard    bool   `json:"discard,omitempty"`
}

// Link is one NIC.
type Link struct {
	Name   string `json:"name"`
	MAC    string `json:"mac"`
	Driver string `json:"driver,omitempty"`
	PCI    string `json:"pci,omitempty"` // bus address
	Mbps   int    `json:"mbps,omitempty"`
	Up     bool   `json:"up"`
	MTU    int    `json:"mtu"`
	// Neighbours are what LLDP (IEEE 802.1AB) heard on it.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
}

// Neighbour is one LLDP neighbour.
type Neighbour struct {
	ChassisID  string `json:"chassis_id"`
	PortID     string `json:"port_id"`
	SystemName string `json:"system_name,omitempty"`
	PortDesc   string `json:"port_desc,omitempty"`
	VLAN       int    `json:"vlan,omitempty"`
}

// Duration is a time.Duration whose JSON is Go's notation, such as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
