package deploy

import (
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/asset"
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
}

// userName is what useradd of Debian accepts.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// hostName is a name of dot-separated labels (RFC 1123 2.1).
var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

// check completes a spec for a machine and says what is wrong with it. It is
// pure.
func (s *Spec) check(m *asset.Machine, img Image) error {
	if s.Hostname == "" {
		s.Hostname = m.ID
	}
	if len(s.Hostname) > 253 || !hostName.MatchString(s.Hostname) {
		return fmt.Errorf("hostname %q is not a host name (RFC 1123)", s.Hostname)
	}
	if s.User == "" {
		s.User = "admin"
	}
	trimKeys(s.SSHKeys) // as they come from a file, with its line's end
	for _, u := range append([]job.User{{Name: s.User, SSHKeys: s.SSHKeys}}, s.Users...) {
		trimKeys(u.SSHKeys)
		if err := checkUser(u); err != nil {
			return err
		}
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
	return fits(m, img, s.Disk)
}

func trimKeys(keys []string) {
	for i := range keys {
		keys[i] = strings.TrimSpace(keys[i])
	}
}

// checkUser refuses what the agent would.
func checkUser(u job.User) error {
	if !userName.MatchString(u.Name) {
		return fmt.Errorf("user %q: must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or _", u.Name)
	}
	for i, k := range u.SSHKeys {
		if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil || len(strings.TrimSpace(string(rest))) > 0 || strings.ContainsAny(k, "\r\n") {
			return fmt.Errorf("user %s: ssh key %d is not one authorized_keys line", u.Name, i+1)
		}
	}
	if strings.ContainsAny(u.PasswordHash, ":\n") || u.PasswordHash != "" && !strings.HasPrefix(u.PasswordHash, "$") {
		return fmt.Errorf("user %s: password_hash is not a crypt(5) hash; make one with: openssl passwd -6", u.Name)
	}
	return nil
}

// fits says what keeps an image from running on a machine.
func fits(m *asset.Machine, img Image, hint job.DiskHint) error {
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
	need, largest, found := max(img.Size, img.MinDisk), int64(0), false
	for _, d := range inv.Disks {
		if !matches(d, hint) {
			continue
		}
		found = true
		largest = max(largest, d.Bytes)
	}
	if !found {
		return fmt.Errorf("machine %s has no disk that matches %+v", m.ID, hint)
	}
	if largest < need {
		return fmt.Errorf("image %s needs a disk of %d MiB and the largest of machine %s has %d", img.Name, need>>20, m.ID, largest>>20)
	}
	return nil
}

func matches(d job.Disk, h job.DiskHint) bool {
	return !d.Removable &&
		(h.Serial == "" || h.Serial == d.Serial) &&
		(h.WWN == "" || h.WWN == d.WWN) &&
		(h.Path == "" || h.Path == d.Path) &&
		d.Bytes >= h.MinBytes &&
		(h.Rotational == nil || *h.Rotational == d.Rotational)
}
