package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gantry-pod/gantry/lab/machine"
	labpdu "github.com/gantry-pod/gantry/lab/pdu"
)

// Config says what a lab consists of. Its YAML form, with the keys of the json
// tags, is what `gantry lab up --config` reads.
type Config struct {
	// Name is the lab's: 1 to 8 of a-z and 0-9, so that what is derived from it
	// stays short; "lab" unless set.
	Name string `json:"name,omitempty"`
	// StateDir holds disks, logs and the appliance's files.
	StateDir string `json:"state_dir,omitempty"`
	// Machines of the pod.
	Machines []machine.Spec `json:"machines"`
	// Outlets of the PDU; as many as the machines use, at least 8, unless set.
	Outlets int `json:"outlets,omitempty"`
	// PDUDelay is between a command to an outlet and its relay; meanwhile the PDU
	// says that the command is pending, as rPDU2 does.
	PDUDelay time.Duration `json:"pdu_delay,omitempty"`
	// Appliance is the program that runs in the pod; empty runs none, and the
	// lab then gives the provisioning interface its address.
	Appliance string `json:"appliance,omitempty"`
	// Drivers is the directory of the appliance's driver binaries; the one of the
	// appliance unless set.
	Drivers string `json:"drivers,omitempty"`
	// Netboot is the directory of the netboot kernel and initramfs; ../netboot
	// beside the appliance's unless set.
	Netboot string `json:"netboot,omitempty"`
	// ApplianceExtra is YAML to end the appliance's configuration with.
	ApplianceExtra string `json:"appliance_extra,omitempty"`
	// Forwards lead from the host into the lab.
	Forwards []Forward `json:"forwards,omitempty"`
	// Accel is found out unless set.
	Accel machine.Accel `json:"accel,omitempty"`

	// Log is the lab's; discarded unless set.
	Log *slog.Logger `json:"-" yaml:"-"`
	// PDUTrace, if set, is told of every SNMP message that the PDU answers. It
	// must not block.
	PDUTrace func(labpdu.Event) `json:"-" yaml:"-"`
	// StandIn, if set, takes the place of all machines: there are no QEMUs, and
	// it is told of each outlet that is switched, in order and one at a time. The
	// inventory has the machines all the same; their cables are [wire.Wire.AddCable].
	StandIn func(outlet int, on bool) `json:"-" yaml:"-"`
}

// Forward accepts TCP connections on the host and passes them into the lab.
type Forward struct {
	// Listen is a host address and port, such as 127.0.0.1:2201.
	Listen string `json:"listen"`
	// To is "machine:NAME:PORT" (at the address that the machine uses),
	// "appliance" (its API's Unix socket, for GET and HEAD only), or "tcp:IP:PORT"
	// as seen from the appliance.
	To string `json:"to"`
}

// DecodeConfig reads a lab's YAML. Unknown keys are errors with their line.
func DecodeConfig(r io.Reader) (Config, error) {
	var cfg Config
	if err := yaml.NewDecoder(r, yaml.DisallowUnknownField()).Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("lab configuration: %s", yaml.FormatError(err, false, true))
	}
	return cfg, nil
}

// The PDU has at least minOutlets unless fewer are asked for, and at most
// maxOutlets.
const (
	minOutlets = 8
	maxOutlets = 48
)

// WithDefaults returns the configuration with all that may be left out: names,
// identities derived from the lab's and the machine's name (so that they stay
// from run to run), and the PDU's size.
func (c Config) WithDefaults() Config {
	if c.Name == "" {
		c.Name = "lab"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Machines = slices.Clone(c.Machines)
	used := minOutlets
	for i := range c.Machines {
		m := c.Machines[i].WithDefaults()
		if m.Name == "" {
			m.Name = fmt.Sprintf("m%d", i+1)
			m = m.WithDefaults()
		}
		if m.UUID == "" {
			m.UUID = identityUUID(c.Name, m.Name)
		}
		if len(m.Outlets) == 0 {
			m.Outlets = []int{i + 1}
		}
		for n := range m.NICs {
			m.NICs[n].Tap = fmt.Sprintf("t%dn%d", i+1, n)
			if m.NICs[n].MAC == "" {
				m.NICs[n].MAC = identityMAC(c.Name, m.Name, n)
			}
		}
		used = max(used, slices.Max(m.Outlets))
		c.Machines[i] = m
	}
	if c.Outlets == 0 {
		c.Outlets = used
	}
	return c
}

var nameForm = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

// Validate says what is wrong with a complete configuration, all of it.
func (c Config) Validate() error {
	var errs []error
	if !nameForm.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("lab name %q: want 1 to 8 of a-z and 0-9", c.Name))
	}
	if c.StateDir == "" {
		errs = append(errs, errors.New("no state directory"))
	}
	if c.Outlets < 1 || c.Outlets > maxOutlets {
		errs = append(errs, fmt.Errorf("%d outlets: want 1 to %d", c.Outlets, maxOutlets))
	}
	owner := map[string]string{}
	claim := func(what, machine string) {
		if other, taken := owner[what]; taken {
			errs = append(errs, fmt.Errorf("%s is both %s's and %s's", what, other, machine))
		}
		owner[what] = machine
	}
	for _, m := range c.Machines {
		errs = append(errs, m.Validate())
		claim("name "+m.Name, m.Name)
		claim("uuid "+m.UUID, m.Name)
		for _, n := range m.Outlets {
			claim(fmt.Sprintf("outlet %d", n), m.Name)
			if n > c.Outlets {
				errs = append(errs, fmt.Errorf("machine %q: outlet %d: the PDU has %d", m.Name, n, c.Outlets))
			}
		}
	}
	for _, f := range c.Forwards {
		errs = append(errs, f.validate(c))
	}
	return errors.Join(errs...)
}

// validate refuses a forward that leads nowhere.
func (f Forward) validate(c Config) error {
	if _, _, err := net.SplitHostPort(f.Listen); err != nil {
		return fmt.Errorf("forward %q: %w", f.Listen, err)
	}
	kind, rest, _ := strings.Cut(f.To, ":")
	switch kind {
	case toAppliance:
		if rest != "" {
			return fmt.Errorf("forward %s to %q: the appliance's API has no port", f.Listen, f.To)
		}
		return nil
	case "tcp":
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return fmt.Errorf("forward %s to %q: %w", f.Listen, f.To, err)
		}
		return nil
	case "machine":
		name, _, _ := strings.Cut(rest, ":")
		if slices.ContainsFunc(c.Machines, func(m machine.Spec) bool { return m.Name == name }) {
			return nil
		}
		return fmt.Errorf("forward %s: no machine %q", f.Listen, name)
	}
	return fmt.Errorf("forward %s to %q: want machine:NAME:PORT, appliance or tcp:IP:PORT", f.Listen, f.To)
}

// Machines returns n machines m1 to mn. Firmware is "bios", "uefi", or "mixed"
// for every other one.
func Machines(n int, firmware string) ([]machine.Spec, error) {
	if n < 1 || n > 48 {
		return nil, fmt.Errorf("%d machines: want 1 to 48", n)
	}
	kinds := map[string][]machine.Firmware{
		"bios": {machine.BIOS}, "uefi": {machine.UEFI}, "mixed": {machine.BIOS, machine.UEFI},
	}[firmware]
	if kinds == nil {
		return nil, fmt.Errorf("firmware %q: want bios, uefi or mixed", firmware)
	}
	specs := make([]machine.Spec, n)
	for i := range specs {
		specs[i] = machine.Spec{Name: fmt.Sprintf("m%d", i+1), Firmware: kinds[i%len(kinds)]}
	}
	return specs, nil
}

// identityUUID is a UUID of version 8 (RFC 9562) from the names.
func identityUUID(lab, machine string) string {
	h := sha256.Sum256([]byte("gantry lab uuid " + lab + " " + machine))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// identityMAC is an address with QEMU's prefix 52:54:00 from the names.
func identityMAC(lab, machine string, nic int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "gantry lab mac %s %s %d", lab, machine, nic))
	return net.HardwareAddr{0x52, 0x54, 0x00, h[0], h[1], h[2]}.String()
}
