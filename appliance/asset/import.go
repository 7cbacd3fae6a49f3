package asset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/gantry-pod/gantry/appliance/yamlfile"
)

// File is an inventory file, the YAML that a technician writes.
type File struct {
	PDUs     []FilePDU     `yaml:"pdus" json:"pdus"`
	Machines []FileMachine `yaml:"machines" json:"machines"`
}

// FilePDU is a PDU in an inventory file.
type FilePDU struct {
	Name    string         `yaml:"name" json:"name"`
	Driver  string         `yaml:"driver" json:"driver"`
	Address string         `yaml:"address" json:"address"`
	Config  map[string]any `yaml:"config" json:"config"`
}

// FileMachine is a machine in an inventory file.
type FileMachine struct {
	Name  string     `yaml:"name" json:"name"`
	Owner string     `yaml:"owner" json:"owner,omitempty"`
	UUID  string     `yaml:"uuid" json:"uuid,omitempty"`
	MACs  []string   `yaml:"macs" json:"macs"`
	Power []FileFeed `yaml:"power" json:"power,omitempty"`
	// Address on the provisioning network; chosen from the reservations if empty.
	Address string `yaml:"address" json:"address,omitempty"`
	Notes   string `yaml:"notes" json:"notes,omitempty"`
}

// FileFeed is an outlet in an inventory file.
type FileFeed struct {
	PDU    string `yaml:"pdu" json:"pdu"`
	Outlet string `yaml:"outlet" json:"outlet"`
}

// MaxFile bounds an inventory file, in bytes: 10,000 machines fit well within it.
const MaxFile = 8 << 20

// ParseFile reads an inventory file. Unknown keys are errors that name the
// line, and do not quote the file, which has secrets in it. It checks what the
// file alone can tell: names, addresses, and that nothing is claimed twice.
func ParseFile(b []byte) (*File, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("inventory file: %d bytes, at most %d are read", len(b), MaxFile)
	}
	var f File
	if err := yamlfile.Decode(b, &f); err != nil {
		return nil, fmt.Errorf("inventory file: %w", err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("inventory file: %w", err)
	}
	return &f, nil
}

// label is a DNS label (RFC 1123 2.1), lower case.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// uuid is a UUID as the kernel shows SMBIOS': lower case (RFC 9562 section 4).
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ValidUUID says whether s is a UUID in lower case with hyphens.
func ValidUUID(s string) bool { return uuid.MatchString(s) }

// CheckName says whether a name can name an asset: a DNS label (RFC 1123).
func CheckName(what, name string) error {
	if !label.MatchString(name) {
		return fmt.Errorf("%s name %q: must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -", what, name)
	}
	return nil
}

func (f *File) check() error {
	pdus := map[string]bool{}
	for i, p := range f.PDUs {
		if err := CheckName("pdu", p.Name); err != nil {
			return fmt.Errorf("pdus[%d]: %w", i, err)
		}
		if pdus[p.Name] {
			return fmt.Errorf("pdus[%d]: %q is named twice", i, p.Name)
		}
		pdus[p.Name] = true
		if p.Driver == "" || p.Address == "" {
			return fmt.Errorf("pdu %s: driver and address are required", p.Name)
		}
	}
	claimed := map[string]string{}
	claim := func(who, what string) error {
		if other, ok := claimed[what]; ok {
			return fmt.Errorf("machine %s: %s is claimed by machine %s too", who, what, other)
		}
		claimed[what] = who
		return nil
	}
	for i := range f.Machines {
		if err := f.Machines[i].check(pdus, claim); err != nil {
			return fmt.Errorf("machines[%d]: %w", i, err)
		}
	}
	return nil
}

func (m *FileMachine) check(pdus map[string]bool, claim func(who, what string) error) error {
	if err := CheckName("machine", m.Name); err != nil {
		return err
	}
	if err := claim(m.Name, "name "+m.Name); err != nil {
		return err
	}
	if len(m.MACs) == 0 {
		return fmt.Errorf("machine %s: macs is empty; the first is the one that it boots from", m.Name)
	}
	for i, s := range m.MACs {
		mac, err := ParseMAC(s)
		if err != nil {
			return fmt.Errorf("machine %s: macs[%d]: %w", m.Name, i, err)
		}
		m.MACs[i] = mac
		if err := claim(m.Name, "MAC address "+mac); err != nil {
			return err
		}
	}
	for _, p := range m.Power {
		if !pdus[p.PDU] {
			return fmt.Errorf("machine %s: power names pdu %q, which the file does not have", m.Name, p.PDU)
		}
		if p.Outlet == "" {
			return fmt.Errorf("machine %s: power from pdu %s has no outlet", m.Name, p.PDU)
		}
		if err := claim(m.Name, "outlet "+p.PDU+"/"+p.Outlet); err != nil {
			return err
		}
	}
	if m.UUID = strings.ToLower(m.UUID); m.UUID != "" && !ValidUUID(m.UUID) {
		return fmt.Errorf("machine %s: uuid %q is not a UUID such as 4c4c4544-0044-4810-8031-b4c04f4d3732", m.Name, m.UUID)
	}
	if m.Address != "" {
		if a, err := netip.ParseAddr(m.Address); err != nil || !a.Is4() {
			return fmt.Errorf("machine %s: address %q is not an IPv4 address", m.Name, m.Address)
		}
		return claim(m.Name, "address "+m.Address)
	}
	return nil
}

// sum is a digest of what the file says of m.
func (m *FileMachine) sum() (string, error) {
	b, err := json.Marshal(m)
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16]), err
}

// ParseMAC reads an EUI-48 address and returns it lower case with colons.
// Multicast and all-zero addresses are refused: no NIC has one.
func ParseMAC(s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%q is not an Ethernet MAC address", s)
	}
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return "", fmt.Errorf("%q cannot be a NIC's address (multicast or zero)", s)
	}
	return mac.String(), nil
}

// secretJSON turns a driver's configuration into its stored form.
func secretJSON(config map[string]any) (Secret, error) {
	if config == nil {
		config = map[string]any{}
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("config is not JSON-like: %w", err)
	}
	return b, nil
}
