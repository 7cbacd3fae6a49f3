// Package pdu is a power distribution unit made of software: an SNMP agent
// (v1, v2c and v3) that obeys APC's PowerNet-MIB, and calls back when a relay
// would move. The lab hangs virtual machines on its outlets; drivers are
// tested against it over the real protocol.
//
// It imitates the device, not the driver's idea of it: delays and pending
// states, the error codes of v1 and of v2c, answers that get lost, and outlets
// that fail in the ways real ones do, switchable while it runs.
package pdu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Model is which of APC's families the agent is.
type Model string

// The models, by the part of PowerNet-MIB that they answer to.
const (
	RPDU2        Model = "rPDU2"        // AP8xxx and AP79xxB
	RPDU         Model = "rPDU"         // AP79xx
	MasterSwitch Model = "MasterSwitch" // AP9xxx
)

// User is an SNMPv3 user, with authentication by SHA and privacy by AES-128
// (RFC 3414, RFC 3826). Without AuthPassword it is noAuthNoPriv, without
// PrivPassword authNoPriv; a user must use the level it has.
type User struct {
	Name         string
	AuthPassword string
	PrivPassword string
	ReadOnly     bool
}

// Identity is who the agent says it is. Empty fields are filled from the model.
type Identity struct {
	Name, Model, Serial, Firmware, Location string
}

// Config describes a PDU.
type Config struct {
	Model   Model // default RPDU2
	Outlets int   // 1 to 48
	Names   []string
	// On is what all outlets are at first. Power is not told.
	On bool
	// OnDelay and OffDelay are between an immediate command and the relay; the
	// outlet has a command pending meanwhile.
	OnDelay, OffDelay time.Duration
	// RebootDuration is how long a cycled outlet stays off; default 5 s.
	RebootDuration time.Duration

	ReadCommunity  string // v1 and v2c; empty admits none
	WriteCommunity string // reads too
	Users          []User
	// EngineBoots is snmpEngineBoots, default 1; a reboot counts it up.
	EngineBoots uint32

	Identity Identity
	// Trace, if set, is told of every SNMP message that asks for something,
	// before it is answered. It must not block.
	Trace func(Event)
}

// Power is what hangs on the outlets. Set is called when a relay moves, in
// order and one at a time; outlets are numbered from 1.
type Power interface {
	Set(outlet int, on bool)
}

// Agent is one emulated PDU. Its methods are safe for concurrent use.
type Agent struct {
	cfg   Config
	power Power
	log   *slog.Logger
	start time.Time
	tree  tree
	usm   *usm

	mu      sync.Mutex // guards outlets, wire and moves
	outlets []*outlet
	wire    WireFault
	moves   []move
	moved   chan struct{} // holds a token while moves is not empty
}

// move is a relay's move that Power has to be told.
type move struct {
	outlet int
	on     bool
}

const maxOutlets = 48

// New makes a PDU with its outlets as cfg says. It serves nothing yet.
func New(cfg Config, power Power, log *slog.Logger) (*Agent, error) {
	if cfg.Model == "" {
		cfg.Model = RPDU2
	}
	if cfg.Outlets < 1 || cfg.Outlets > maxOutlets {
		return nil, fmt.Errorf("lab PDU: %d outlets: must be 1 to %d", cfg.Outlets, maxOutlets)
	}
	if cfg.RebootDuration <= 0 {
		cfg.RebootDuration = 5 * time.Second
	}
	if cfg.EngineBoots == 0 {
		cfg.EngineBoots = 1
	}
	cfg.Identity = cfg.Identity.withDefaults(cfg.Model)
	a := &Agent{cfg: cfg, power: power, log: log, start: time.Now(), moved: make(chan struct{}, 1)}
	for n := 1; n <= cfg.Outlets; n++ {
		o := &outlet{number: n, name: fmt.Sprintf("Outlet %d", n), on: cfg.On}
		if n <= len(cfg.Names) {
			o.name = cfg.Names[n-1]
		}
		a.outlets = append(a.outlets, o)
	}
	var err error
	if a.tree, err = a.buildTree(); err != nil {
		return nil, fmt.Errorf("lab PDU: %w", err)
	}
	if a.usm, err = newUSM(cfg.Users, cfg.EngineBoots, a.start); err != nil {
		return nil, fmt.Errorf("lab PDU: %w", err)
	}
	return a, nil
}

func (i Identity) withDefaults(m Model) Identity {
	model, firmware := "AP8953", "v7.1.2"
	switch m {
	case RPDU:
		model, firmware = "AP7921", "v3.9.2"
	case MasterSwitch:
		model, firmware = "AP9606", "v2.2.5"
	}
	for field, fallback := range map[*string]string{&i.Name: "lab-pdu", &i.Model: model, &i.Serial: "LAB000000001", &i.Firmware: firmware, &i.Location: "lab"} {
		if *field == "" {
			*field = fallback
		}
	}
	return i
}

// Serve answers on conn until ctx ends, then closes it. It returns nil when
// ctx ended it.
func (a *Agent) Serve(ctx context.Context, conn net.PacketConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	workers.Go(func() { a.tellPower(ctx) })
	buf := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("lab PDU: %w", err)
			}
			continue // an ICMP error of an earlier answer
		}
		a.receive(ctx, conn, from, buf[:n])
	}
}

// receive answers one datagram, unless the wire is at fault.
func (a *Agent) receive(ctx context.Context, conn net.PacketConn, from net.Addr, datagram []byte) {
	wire := a.currentWire()
	if wire.Silent {
		return
	}
	answer, isSet := a.answer(from, datagram)
	if answer == nil || a.loseReply(isSet) {
		return
	}
	send := func() {
		if _, err := conn.WriteTo(answer, from); err != nil && ctx.Err() == nil {
			a.log.Debug("lab PDU cannot answer", "to", from.String(), "error", err)
		}
	}
	if wire.Slow > 0 {
		timer := time.AfterFunc(wire.Slow, send)
		context.AfterFunc(ctx, func() { timer.Stop() })
		return
	}
	send()
}

// tellPower passes the relays' moves on in order.
func (a *Agent) tellPower(ctx context.Context) {
	for {
		select {
		case <-a.moved:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		moves := a.moves
		a.moves = nil
		a.mu.Unlock()
		for _, m := range moves {
			a.power.Set(m.outlet, m.on)
		}
	}
}
