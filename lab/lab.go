package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/lab/machine"
	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/wire"
)

// Lab is one emulated pod that is up. Its methods may be called from any
// goroutine.
type Lab struct {
	asked      Config // as given, with defaults
	cfg        Config // and with what was found out
	claim      *claim
	wire       *wire.Wire
	neighbours *wire.Neighbours
	secrets    secrets
	pdu        *labpdu.Agent
	machines   []*machine.Machine
	appliance  *appliance
	began      time.Time

	cancel context.CancelFunc // ends life
	life   sync.WaitGroup     // all goroutines of the lab

	mu     sync.Mutex // guards faults
	faults []Fault
}

// Config returns the lab's complete configuration.
func (l *Lab) Config() Config { return l.cfg }

// Machine returns the machine of that name, nil if there is none.
func (l *Lab) Machine(name string) *machine.Machine {
	for _, m := range l.machines {
		if m.Spec().Name == name {
			return m
		}
	}
	return nil
}

// Machines returns all machines, in the configuration's order.
func (l *Lab) Machines() []*machine.Machine { return l.machines }

// PDU is the emulated PDU, for its faults.
func (l *Lab) PDU() *labpdu.Agent { return l.pdu }

// Wire is the network, for its faults.
func (l *Lab) Wire() *wire.Wire { return l.wire }

// Netns returns the names of the network namespaces of the wire and of the
// appliance, for `ip netns exec`.
func (l *Lab) Netns() (l2, app string) { return wire.Names(l.cfg.Name) }

// Dial connects to an IP address and port as the appliance would.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.wire.App.Dial(ctx, network, address)
}

// Start starts a program where the appliance runs. The program dies with the
// lab; the caller waits for it.
func (l *Lab) Start(cmd *exec.Cmd) error { return l.wire.App.Start(cmd) }

// Addr returns the IPv4 address that a machine was last heard to use on the
// provisioning network.
func (l *Lab) Addr(name string) (netip.Addr, bool) {
	m := l.Machine(name)
	if m == nil {
		return netip.Addr{}, false
	}
	for _, nic := range m.Spec().NICs {
		if addr, ok := l.neighbours.Addr(nic.MAC); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// Outlet is one of the PDU's outlets.
type Outlet struct {
	lab    *Lab
	number int
}

// Outlet returns the outlet of that number, from 1.
func (l *Lab) Outlet(number int) Outlet { return Outlet{lab: l, number: number} }

// Set switches the outlet by the button on the PDU: at once, and whatever fault
// its control by SNMP has.
func (o Outlet) Set(on bool) error {
	if o.number < 1 || o.number > o.lab.cfg.Outlets {
		return fmt.Errorf("outlet %d: the PDU has 1 to %d: %w", o.number, o.lab.cfg.Outlets, ErrNotFound)
	}
	o.lab.pdu.Press(o.number, on)
	return nil
}

// On says whether the outlet gives power.
func (o Outlet) On() bool { return o.lab.pdu.Outlet(o.number) }

// ErrNotFound is returned for a machine or an outlet that the lab lacks.
var ErrNotFound = errors.New("not in this lab")

// machineNamed is [Lab.Machine] with an error.
func (l *Lab) machineNamed(name string) (*machine.Machine, error) {
	if m := l.Machine(name); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("machine %q: %w", name, ErrNotFound)
}

// board leads the power of the PDU's relays to the machines.
type board struct{ lab *Lab }

// Set implements the PDU's Power.
func (b board) Set(outlet int, on bool) {
	if b.lab.cfg.StandIn != nil {
		b.lab.cfg.StandIn(outlet, on)
		return
	}
	for _, m := range b.lab.machines {
		for _, feed := range m.Spec().Outlets {
			if feed == outlet {
				m.SetFeed(outlet, on)
			}
		}
	}
}

// host starts QEMUs in the wire's namespace and keeps their record.
type host struct{ lab *Lab }

// Start implements machine.Host.
func (h host) Start(cmd *exec.Cmd) error {
	if err := h.lab.wire.L2.Start(cmd); err != nil {
		return err
	}
	return h.lab.claim.started(cmd.Process.Pid)
}

// Ended implements machine.Host.
func (h host) Ended(cmd *exec.Cmd) { h.lab.claim.ended(cmd.Process.Pid) }

// path is a path in the state directory.
func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.cfg.StateDir}, elem...)...)
}
