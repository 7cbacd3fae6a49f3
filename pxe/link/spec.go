// Package link makes and keeps the appliance's own provisioning interface: an
// untagged device, or a tagged VLAN of one that the appliance creates itself,
// with its address and MTU.
//
// [Ensure] makes it so and can be called again at any time; [Watch] does that
// whenever the kernel tells of a change; [RemoveStale] takes back what was made for
// an earlier declaration, [Remove] what was made for this one.
// What was made is marked in the kernel (an interface's ifalias), so that it is
// known again after a crash, and nothing else is ever deleted. Addresses that
// others put on the interface are left alone.
package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Spec declares a provisioning interface: either Device, or Parent and VLAN.
type Spec struct {
	// Device is an existing interface that carries the network untagged.
	Device string `yaml:"device,omitempty" json:"device,omitempty"`
	// Parent is an existing interface that carries it tagged.
	Parent string `yaml:"parent,omitempty" json:"parent,omitempty"`
	// VLAN is the tag on Parent, 1 to 4094 (IEEE 802.1Q, 9.6).
	VLAN int `yaml:"vlan,omitempty" json:"vlan,omitempty"`
	// Address is the appliance's address with the network's prefix length.
	Address netip.Prefix `yaml:"address" json:"address"`
	// MTU is the interface's, in bytes; 0 leaves it as it is.
	MTU int `yaml:"mtu,omitempty" json:"mtu,omitempty"`
}

// maxName is the length of an interface name (IFNAMSIZ without its NUL).
const maxName = 15

// Name is the interface's name: Device, or PARENT.VLAN, or vlanNNNN where that
// would be too long.
func (s Spec) Name() string {
	if s.Device != "" {
		return s.Device
	}
	if name := fmt.Sprintf("%s.%d", s.Parent, s.VLAN); len(name) <= maxName {
		return name
	}
	return fmt.Sprintf("vlan%d", s.VLAN)
}

// Validate says everything that is wrong with a Spec.
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("provisioning link: "+format, args...))
	}
	switch {
	case s.Device == "" && s.Parent == "":
		bad("neither device nor parent is given")
	case s.Device != "" && (s.Parent != "" || s.VLAN != 0):
		bad("device %q is untagged: parent and vlan do not go with it", s.Device)
	case s.Parent != "" && (s.VLAN < 1 || s.VLAN > 4094):
		bad("VLAN %d of %q is not 1 to 4094", s.VLAN, s.Parent)
	}
	for _, name := range []string{s.Device, s.Parent} {
		if len(name) > maxName {
			bad("interface name %q is longer than %d characters", name, maxName)
		}
	}
	if !s.Address.IsValid() || s.Address.Addr().IsUnspecified() || s.Address.Addr().IsMulticast() {
		bad("address %q is not an address with a prefix length, as 10.0.0.1/24", s.Address)
	}
	if s.MTU != 0 && (s.MTU < 576 || s.MTU > 65535) {
		bad("MTU %d is not 576 to 65535", s.MTU)
	}
	return errors.Join(errs...)
}

// Link is a provisioning interface as it is.
type Link struct {
	Name    string
	Index   int
	MAC     net.HardwareAddr
	MTU     int // bytes
	Address netip.Prefix
	// Carrier says that the interface, and for a VLAN its parent, has a signal.
	Carrier bool
	// Ours says that the interface was created by an Ensure, now or earlier.
	Ours bool
	// Changes is what the Ensure that returned this had to do, in order and in
	// words for a log; empty if nothing.
	Changes []string
}
