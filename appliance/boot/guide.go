// Package boot knows what each machine of the pod is to boot and tells the
// services that a booting machine talks to: the DHCP server which address and
// whether to boot at all, the HTTP server which script. What always holds: a
// machine is let through to its disk only in the states in which the lifecycle
// lets it, and the agent is started only with a token made for that boot.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/pxe/httpboot"
)

// Discovery says what becomes of machines that are in no inventory.
type Discovery string

// The policies for machines that are in no inventory.
const (
	// DiscoverInspect records and inspects them; their disks are not touched.
	DiscoverInspect Discovery = "inspect"
	// DiscoverRecord records them and holds them in the boot loader.
	DiscoverRecord Discovery = "record"
	// DiscoverIgnore gives them an address and nothing to boot.
	DiscoverIgnore Discovery = "ignore"
)

// Host is what the DHCP server needs to know of a machine.
type Host struct {
	Machine string
	// Addr is invalid for a NIC that the machine does not boot from.
	Addr     netip.Addr
	Hostname string
	// Boot says whether it may be told to boot from us.
	Boot bool
}

// Plan is what a machine's boot script is to do.
type Plan struct {
	// Boot is the lifecycle's choice.
	Boot machine.Boot
	// Args are kernel parameters for the agent.
	Args []string
	// Reason is shown on the machine's console.
	Reason string
}

// Tokens makes boot tokens; agent.ErrBusy says that none is to be made now.
type Tokens interface {
	Issue(ctx context.Context, machine, mac string, from netip.Addr) (string, error)
}

// Guide answers for the pod. It is safe for concurrent use.
type Guide struct {
	// Link, if valid, is the network in which who asks was seen to have the MAC
	// address that it asks with. A stranger from elsewhere is recorded and not
	// inspected: what it says of itself could be another's. Set it before use.
	Link netip.Prefix

	assets    *asset.Registry
	tokens    Tokens
	discovery Discovery
	server    string
	found     func(ctx context.Context, m asset.Machine)
	log       *slog.Logger
	known     atomic.Pointer[known]
	pace      *httpboot.Pace // of strangers, all together

	meeting sync.Mutex // held while a stranger is counted and recorded
}

// Bounds of strangers: each is a record that is read with all others, and takes
// an address. A rack that is switched on for the first time comes in at once.
const (
	MaxStrangers  = 64 // that nobody has accepted yet
	strangerRate  = 1
	strangerBurst = 16
)

// ErrStrangers says that too many machines wait to be accepted.
var ErrStrangers = errors.New("too many machines wait to be accepted")

// known is a picture of the inventory that never changes once it is made.
type known struct {
	hosts    map[[6]byte]Host
	reserved map[netip.Addr]bool
}

// NewGuide makes a guide. server is the URL that agents reach the appliance
// under; found is called for each machine that was discovered.
func NewGuide(assets *asset.Registry, tokens Tokens, discovery Discovery, server string,
	found func(context.Context, asset.Machine), log *slog.Logger) *Guide {
	g := &Guide{assets: assets, tokens: tokens, discovery: discovery, server: server, found: found, log: log,
		pace: httpboot.NewPace(strangerRate, strangerBurst, time.Now)}
	g.known.Store(&known{})
	return g
}

// Refresh reads the inventory; call it before the DHCP server starts.
func (g *Guide) Refresh(ctx context.Context) error {
	list, err := g.assets.Machines(ctx)
	if err != nil {
		return err
	}
	k := &known{hosts: make(map[[6]byte]Host, len(list)), reserved: make(map[netip.Addr]bool, len(list))}
	for _, m := range list {
		k.reserved[m.Address] = true
		name := m.ID
		if m.Server != nil {
			name = m.Server.Hostname
		}
		for i, s := range m.MACs {
			mac, err := net.ParseMAC(s)
			if err != nil || len(mac) != 6 {
				return fmt.Errorf("machine %s: MAC address %q in the store: %w", m.ID, s, err)
			}
			h := Host{Machine: m.ID, Hostname: name, Boot: true}
			if i == 0 {
				h.Addr = m.Address // the other NICs get addresses from the pool
			}
			k.hosts[[6]byte(mac)] = h
		}
	}
	g.known.Store(k)
	return nil
}

// Run keeps the guide up to date until ctx ends.
func (g *Guide) Run(ctx context.Context) error {
	changed, stop := g.assets.Watch()
	defer stop()
	for {
		if err := g.Refresh(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("inventory not read; booting goes on with what is known", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Minute):
		}
	}
}

// Host returns what is known of a NIC, from memory.
func (g *Guide) Host(mac [6]byte) (Host, bool) {
	h, ok := g.known.Load().hosts[mac]
	if !ok && g.discovery != DiscoverIgnore {
		h.Boot = true
	}
	return h, ok
}

// Reserved says whether an address is kept for a machine, from memory.
func (g *Guide) Reserved(a netip.Addr) bool { return g.known.Load().reserved[a] }

// Script decides what the machine that has this NIC and asks from this address
// boots now.
func (g *Guide) Script(ctx context.Context, mac net.HardwareAddr, from netip.Addr) (Plan, error) {
	m, err := g.assets.ByMAC(ctx, mac.String())
	if errors.Is(err, asset.ErrNotFound) {
		return g.stranger(ctx, mac, from)
	}
	if err != nil {
		return Plan{}, err
	}
	if g.discovery == DiscoverInspect && g.near(from) && unseen(&m) {
		g.found(ctx, m) // it was recorded, and then we were stopped
	}
	switch b := machine.BootOf(m.Status.State); {
	case b == machine.BootAgent && m.Lock == "" && m.Status.State != machine.Rescue:
		return Plan{Boot: machine.BootWait, Reason: fmt.Sprintf("machine %s is %s and no request has it", m.ID, m.Status.State)}, nil
	case b == machine.BootAgent:
		return g.agentPlan(ctx, m, mac, from)
	case b == machine.BootDisk:
		return Plan{Boot: b, Reason: fmt.Sprintf("machine %s is %s: its own disk", m.ID, m.Status.State)}, nil
	default:
		return Plan{Boot: b, Reason: fmt.Sprintf("machine %s is %s: nothing to boot", m.ID, m.Status.State)}, nil
	}
}

func (g *Guide) agentPlan(ctx context.Context, m asset.Machine, mac net.HardwareAddr, from netip.Addr) (Plan, error) {
	token, err := g.tokens.Issue(ctx, m.ID, mac.String(), from)
	if errors.Is(err, agent.ErrBusy) {
		return Plan{Boot: machine.BootWait, Reason: fmt.Sprintf("an agent of machine %s spoke just now", m.ID)}, nil
	}
	if err != nil {
		return Plan{}, err
	}
	return Plan{Boot: machine.BootAgent, Reason: fmt.Sprintf("machine %s is %s: the netboot agent", m.ID, m.Status.State), Args: []string{
		job.ParamServer + "=" + g.server, job.ParamMachine + "=" + m.ID, job.ParamToken + "=" + token, job.ParamBootIF + "=" + mac.String()}}, nil
}

// near says whether an address is one of the link's.
func (g *Guide) near(from netip.Addr) bool { return !g.Link.IsValid() || g.Link.Contains(from) }

// unseen says whether a machine was recorded by us and nothing became of it yet.
func unseen(m *asset.Machine) bool {
	return !m.Accepted && m.Lock == "" && m.Inventory == nil && m.Status.State == machine.Discovered && m.Status.Since.Equal(m.Created)
}

func (g *Guide) stranger(ctx context.Context, mac net.HardwareAddr, from netip.Addr) (Plan, error) {
	if g.discovery == DiscoverIgnore {
		return Plan{Boot: machine.BootDisk, Reason: "not in the inventory"}, nil
	}
	if !g.pace.Allow(netip.Addr{}) {
		return Plan{Boot: machine.BootWait, Reason: "many new machines came just now"}, nil
	}
	m, err := g.meet(ctx, mac)
	if err != nil {
		return Plan{}, err
	}
	g.log.Info("machine discovered", "machine", m.ID, "mac", mac.String())
	if g.discovery == DiscoverInspect && g.near(from) {
		g.found(ctx, m)
	}
	return Plan{Boot: machine.BootWait, Reason: fmt.Sprintf("recorded as machine %s; accept it with: gantry machine accept %s", m.ID, m.ID)}, nil
}

// meet records a stranger, unless too many wait already.
func (g *Guide) meet(ctx context.Context, mac net.HardwareAddr) (asset.Machine, error) {
	g.meeting.Lock()
	defer g.meeting.Unlock()
	list, err := g.assets.Machines(ctx)
	if err != nil {
		return asset.Machine{}, err
	}
	n := 0
	for i := range list {
		if !list[i].Accepted {
			n++
		}
	}
	if n >= MaxStrangers {
		return asset.Machine{}, fmt.Errorf("%w: %d", ErrStrangers, n)
	}
	return g.assets.Discover(ctx, mac.String(), "")
}
