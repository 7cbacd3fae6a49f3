package deploy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Spec is what is asked for when a machine is deployed.
type Spec struct {
	// Image is NAME, which is its newest version, or NAME:VERSION.
	Image string `json:"image" doc:"Image to write: NAME (its newest version) or NAME:VERSION"`
	// Hostname defaults to the machine's name.
	Hostname string `json:"hostname,omitempty" doc:"Host name; the machine's name if empty"`
	// SSHKeys are authorized_keys lines for User.
	SSHKeys []string `json:"ssh_keys,omitempty" doc:"authorized_keys lines for the user"`
	// User is made, with sudo, for SSHKeys; "admin" if empty.
	User string `json:"user,omitempty" doc:"User to make for the SSH keys, with sudo; admin if empty"`
	// Users are further users.
	Users []job.User `json:"users,omitempty" doc:"Further users"`
	// UserData is for cloud-init.
	UserData string `json:"user_data,omitempty" doc:"cloud-init user-data, handed over as it is"`
	// Disk chooses the root disk.
	Disk job.DiskHint `json:"disk,omitzero" doc:"Which disk to write; the smallest that is large enough if empty"`
	// Layout is for root-file-system images.
	Layout *job.Layout `json:"layout,omitempty" doc:"Partitions and file systems, for root-file-system images"`
	// NICs to configure; the boot NIC with the machine's address if empty.
	NICs []job.NIC `json:"nics,omitempty" doc:"NICs to configure; the boot NIC with the machine's address if empty"`
	// DNS servers; the pod's if empty.
	DNS []string `json:"dns,omitempty" doc:"DNS servers; the pod's if empty"`
	// SkipReadBack leaves out reading the whole disk back.
	SkipReadBack bool `json:"skip_read_back,omitempty" doc:"Do not read the disk back after writing"`
}

// Image is what deploy needs to know of an image.
type Image struct {
	// Ref is how the agent gets it; Name is NAME:VERSION.
	Ref  job.ImageRef
	Name string
	// Arch is a GOARCH; Firmware is "bios", "uefi" or "both".
	Arch, Firmware string
	// Size is what it takes on a disk; MinDisk and MinMemory are its needs. Bytes.
	Size, MinDisk, MinMemory int64
	// Rootfs says that it needs a layout.
	Rootfs bool
	// SectorSize is that of the disks that it was made for; 0 is any.
	SectorSize int
}

// check completes a spec for a machine and says what is wrong with it. It is
// pure.
func (s *Spec) check(m *asset.Machine, img Image, network Network) error {
	if s.Hostname == "" {
		s.Hostname = m.ID
	}
	if s.User == "" {
		s.User = "admin"
	}
	trimKeys(s.SSHKeys) // as they come from a file, with its line's end
	for _, u := range s.Users {
		trimKeys(u.SSHKeys)
	}
	if err := s.config(m, network, "").Validate(); err != nil { // as the agent will
		return err
	}
	if err := reachable(m, s.NICs); err != nil {
		return err
	}
	if len(s.UserData) > 1<<20 {
		return fmt.Errorf("user_data: %d bytes, at most 1 MiB is taken", len(s.UserData))
	}
	if img.Rootfs && s.Layout == nil {
		return fmt.Errorf("image %s is a root file system: give a layout", img.Name)
	}
	if !img.Rootfs && s.Layout != nil {
		return fmt.Errorf("image %s is a whole disk and has its own partitions: leave the layout out", img.Name)
	}
	if s.Layout != nil {
		if err := s.Layout.Validate(); err != nil {
			return fmt.Errorf("layout: %w", err)
		}
	}
	return fits(m, img, s.Disk, s.Layout)
}

// config is what makes the written system this server.
func (s *Spec) config(m *asset.Machine, network Network, instance string) job.Config {
	c := job.Config{Hostname: s.Hostname, InstanceID: instance, NICs: s.NICs, DNS: s.DNS, UserData: s.UserData,
		Users: append([]job.User{{Name: s.User, SSHKeys: s.SSHKeys, Sudo: true}}, s.Users...)}
	if len(c.NICs) == 0 {
		nic := job.NIC{MAC: m.BootMAC(), Addresses: []string{netip.PrefixFrom(m.Address, network.Prefix.Bits()).String()}}
		if network.Gateway.IsValid() {
			nic.Gateway = network.Gateway.String()
		}
		c.NICs = []job.NIC{nic}
	}
	if len(c.DNS) == 0 {
		for _, d := range network.DNS {
			c.DNS = append(c.DNS, d.String())
		}
	}
	return c
}

// reachable refuses NICs that the machine does not have, and those under which
// the server would not answer at the machine's address, where it has to prove
// itself.
func reachable(m *asset.Machine, nics []job.NIC) error {
	found := len(nics) == 0
	for _, n := range nics {
		mac, err := asset.ParseMAC(n.MAC)
		if err != nil {
			return err
		}
		if !hasNIC(m, mac) {
			return fmt.Errorf("machine %s has no NIC %s", m.ID, mac)
		}
		found = found || n.VLAN == 0 && n.DHCP && mac == m.BootMAC()
		for _, a := range n.Addresses {
			p, err := netip.ParsePrefix(a)
			found = found || err == nil && n.VLAN == 0 && p.Addr() == m.Address
		}
	}
	if !found {
		return fmt.Errorf("nics: none has machine %s's address %s without a VLAN, nor DHCP on its boot NIC %s, so the server could not be verified",
			m.ID, m.Address, m.BootMAC())
	}
	return nil
}

func hasNIC(m *asset.Machine, mac string) bool {
	return slices.Contains(m.MACs, mac) ||
		m.Inventory != nil && slices.ContainsFunc(m.Inventory.NICs, func(l job.Link) bool { return strings.EqualFold(l.MAC, mac) })
}

func trimKeys(keys []string) {
	for i := range keys {
		keys[i] = strings.TrimSpace(keys[i])
	}
}

// fits says what keeps an image from running on a machine.
func fits(m *asset.Machine, img Image, hint job.DiskHint, layout *job.Layout) error {
	inv := m.Inventory
	if inv == nil {
		return fmt.Errorf("machine %s was never inspected", m.ID)
	}
	if inv.CPU.Arch != img.Arch {
		return fmt.Errorf("image %s is for %s and machine %s is %s", img.Name, img.Arch, m.ID, inv.CPU.Arch)
	}
	if img.Firmware != "both" && img.Firmware != inv.Firmware {
		return fmt.Errorf("image %s boots by %s only and machine %s has %s firmware", img.Name, img.Firmware, m.ID, inv.Firmware)
	}
	if inv.Memory < img.MinMemory {
		return fmt.Errorf("image %s needs %d MiB of memory and machine %s has %d", img.Name, img.MinMemory>>20, m.ID, inv.Memory>>20)
	}
	need, disks := max(img.Size, img.MinDisk), 1
	if layout != nil {
		need = max(img.MinDisk, layout.Need(img.Size))
		if layout.RAID1 {
			disks = 2
		}
	}
	return fitsDisks(m, img, hint, need, disks)
}

// fitsDisks wants n disks of need bytes that the hint fits.
func fitsDisks(m *asset.Machine, img Image, hint job.DiskHint, need int64, n int) error {
	largest, found, large, other := int64(0), false, 0, 0
	for _, d := range m.Inventory.Disks {
		if !hint.Matches(d) || d.Bytes < hint.MinBytes {
			continue
		}
		if img.SectorSize != 0 && d.SectorSize != 0 && d.SectorSize != img.SectorSize {
			other = d.SectorSize
			continue
		}
		found, largest = true, max(largest, d.Bytes)
		if d.Bytes >= need {
			large++
		}
	}
	switch {
	case other != 0 && large < n:
		return &change.Problem{Code: "disk-sector-size", Detail: fmt.Sprintf(
			"image %s was made for sectors of %d bytes, and the disk of machine %s that would do has %d: take an image for those, or another disk, or format it to sectors of %d", img.Name, img.SectorSize, m.ID, other, img.SectorSize)}
	case !found:
		return fmt.Errorf("machine %s has no disk that matches %+v", m.ID, hint)
	case large == 0:
		return fmt.Errorf("image %s needs a disk of %d MiB and the largest of machine %s has %d", img.Name, need>>20, m.ID, largest>>20)
	case large < n:
		return fmt.Errorf("RAID1 needs two disks of %d MiB and machine %s has %d that may be used", need>>20, m.ID, large)
	}
	return nil
}
