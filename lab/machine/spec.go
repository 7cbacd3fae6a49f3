package machine

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// Firmware is what starts a machine.
type Firmware string

// The firmwares: SeaBIOS with iPXE option ROMs, and OVMF with its own network
// stack where it has a driver.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Spec is what a machine is made of. It does not change while it exists.
type Spec struct {
	// Name is unique in the pod: letters, digits and hyphens, at most 15.
	Name string `json:"name"`
	// Firmware is [BIOS] unless set.
	Firmware Firmware `json:"firmware,omitempty"`
	// HTTPBoot has UEFI firmware boot from the network by HTTP (UEFI 2.10,
	// section 24.7) and not by PXE, which it else tries first.
	HTTPBoot bool `json:"http_boot,omitempty"`
	// CPUs is the number of processors, 2 unless set.
	CPUs int `json:"cpus,omitempty"`
	// MemoryMiB is in MiB, 1024 unless set.
	MemoryMiB int `json:"memory_mib,omitempty"`
	// Disks in boot order; one virtio disk of 4 GiB unless set.
	Disks []Disk `json:"disks,omitempty"`
	// NICs in boot order; one virtio NIC unless set.
	NICs []NIC `json:"nics,omitempty"`
	// UUID, Serial and Product are SMBIOS' type 1.
	UUID    string `json:"uuid"`
	Serial  string `json:"serial,omitempty"`
	Product string `json:"product,omitempty"`
	// Outlets are the PDU outlets that feed the machine, from 1; it has power
	// while at least one is on.
	Outlets []int `json:"outlets"`
}

// Disk is one disk, a sparse raw file.
type Disk struct {
	// Bytes is its size, a multiple of 1 MiB.
	Bytes int64 `json:"bytes"`
	// Bus is "virtio", "nvme", "ahci" or "scsi" (virtio-scsi); virtio unless set.
	Bus string `json:"bus,omitempty"`
	// Serial is its serial number, at most 20 printable ASCII characters.
	Serial string `json:"serial,omitempty"`
	// Rotational makes a spinning disk of 7,200 rpm, which only ahci and scsi
	// can say. Linux takes every virtio disk for a spinning one.
	Rotational bool `json:"rotational,omitempty"`
}

// NIC is one network interface, on the provisioning network.
type NIC struct {
	// Model is "virtio", "e1000" or "e1000e"; virtio unless set.
	Model string `json:"model,omitempty"`
	// MAC is its address.
	MAC string `json:"mac"`
	// Tap is the device at the other end of its cable. The lab chooses it.
	Tap string `json:"tap,omitempty"`
}

// The sizes that a Spec has unless it says otherwise.
const (
	defaultCPUs      = 2
	defaultMemoryMiB = 1024
	defaultDiskBytes = 4 << 30
)

// WithDefaults returns the spec with everything set that may be left out.
func (s Spec) WithDefaults() Spec {
	if s.Firmware == "" {
		s.Firmware = BIOS
	}
	if s.CPUs == 0 {
		s.CPUs = defaultCPUs
	}
	if s.MemoryMiB == 0 {
		s.MemoryMiB = defaultMemoryMiB
	}
	if s.Product == "" {
		s.Product = "Gantry Lab " + strings.ToUpper(string(s.Firmware))
	}
	if s.Serial == "" {
		s.Serial = "LAB-" + s.Name
	}
	s.Disks, s.NICs = slices.Clone(s.Disks), slices.Clone(s.NICs)
	if len(s.Disks) == 0 {
		s.Disks = []Disk{{}}
	}
	for i := range s.Disks {
		s.Disks[i].setDefaults(fmt.Sprintf("%s-d%d", s.Name, i))
	}
	if len(s.NICs) == 0 {
		s.NICs = []NIC{{}}
	}
	for i := range s.NICs {
		if s.NICs[i].Model == "" {
			s.NICs[i].Model = "virtio"
		}
	}
	return s
}

func (d *Disk) setDefaults(serial string) {
	if d.Bytes == 0 {
		d.Bytes = defaultDiskBytes
	}
	if d.Bus == "" {
		d.Bus = "virtio"
	}
	if d.Serial == "" {
		d.Serial = serial
	}
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$`)
	serialForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,20}$`)
	textForm   = regexp.MustCompile(`^[A-Za-z0-9 ._-]{1,64}$`)
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Validate says what is wrong with a complete spec, all of it.
func (s Spec) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("machine %q: "+format, append([]any{s.Name}, args...)...))
		}
	}
	check(nameForm.MatchString(s.Name), "name: want at most 15 of a-z, 0-9 and -")
	check(s.Firmware == BIOS || s.Firmware == UEFI, "firmware %q: want bios or uefi", s.Firmware)
	check(!s.HTTPBoot || s.Firmware == UEFI, "http_boot: only uefi firmware has it")
	check(s.CPUs >= 1 && s.CPUs <= 64, "cpus %d: want 1 to 64", s.CPUs)
	check(s.MemoryMiB >= 128 && s.MemoryMiB <= 1<<20, "memory_mib %d: want 128 to 1048576", s.MemoryMiB)
	check(uuidForm.MatchString(s.UUID), "uuid %q: want lower-case hexadecimal 8-4-4-4-12", s.UUID)
	check(textForm.MatchString(s.Serial), "serial %q: want 1 to 64 letters, digits, spaces, . _ -", s.Serial)
	check(textForm.MatchString(s.Product), "product %q: want 1 to 64 letters, digits, spaces, . _ -", s.Product)
	check(len(s.Outlets) == 1 || len(s.Outlets) == 2, "%d outlets: want 1 or 2", len(s.Outlets))
	for _, n := range s.Outlets {
		check(n >= 1, "outlet %d: outlets count from 1", n)
	}
	for i, d := range s.Disks {
		check(d.Bytes > 0 && d.Bytes%(1<<20) == 0, "disk %d: %d bytes: want a multiple of 1 MiB", i, d.Bytes)
		check(slices.Contains([]string{"virtio", "nvme", "ahci", "scsi"}, d.Bus), "disk %d: bus %q: want virtio, nvme, ahci or scsi", i, d.Bus)
		check(serialForm.MatchString(d.Serial), "disk %d: serial %q: want 1 to 20 letters, digits, . _ -", i, d.Serial)
		check(!d.Rotational || d.Bus == "ahci" || d.Bus == "scsi", "disk %d: a %s disk cannot be rotational", i, d.Bus)
	}
	check(countBus(s.Disks, "ahci") <= 6, "more than the 6 ports of the AHCI controller")
	for i, n := range s.NICs {
		mac, err := net.ParseMAC(n.MAC)
		check(err == nil && len(mac) == 6 && mac[0]&1 == 0, "nic %d: mac %q: want a unicast Ethernet address", i, n.MAC)
		check(slices.Contains([]string{"virtio", "e1000", "e1000e"}, n.Model), "nic %d: model %q: want virtio, e1000 or e1000e", i, n.Model)
	}
	return errors.Join(errs...)
}

func countBus(disks []Disk, bus string) (n int) {
	for _, d := range disks {
		if d.Bus == bus {
			n++
		}
	}
	return n
}
