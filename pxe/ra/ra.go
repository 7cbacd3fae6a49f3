// Package ra answers IPv6 router solicitations (RFC 4861) on a provisioning
// network with an advertisement that says: no router, no prefix, no DHCPv6.
//
// It exists because iPXE configures IPv6 as well as IPv4 before it boots, and
// where nobody answers its solicitation it waits for some 13 seconds; with
// this answer it goes on at once. The advertisement changes nothing else for
// anyone: a router lifetime of 0 makes it nobody's default router (section
// 4.2), the other fields are "unspecified", and there are no options but our
// link-layer address.
//
// It works on Ethernet frames, so it needs no IPv6 address on the interface
// and does not wait for duplicate address detection. The work is bounded: some
// answers a second to each address, and in total.
package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Responder answers router solicitations on one interface.
type Responder struct {
	ifname string
	log    *slog.Logger
}

// reopenEvery is how long a missing interface is waited for at a time.
const reopenEvery = time.Second

// New checks that the interface exists, is Ethernet, and that this process may
// open a packet socket on it (CAP_NET_RAW).
func New(ifname string, log *slog.Logger) (*Responder, error) {
	r := &Responder{ifname: ifname, log: log}
	c, _, err := r.open()
	if err != nil {
		return nil, fmt.Errorf("ra: %w", err)
	}
	c.Close()
	return r, nil
}

// Serve answers until ctx ends and then returns nil. An interface that goes
// away or down is taken up again when it is back.
func (r *Responder) Serve(ctx context.Context) error {
	told := false
	for ctx.Err() == nil {
		err := r.session(ctx, func() { told = false })
		if err != nil && !told && ctx.Err() == nil {
			told = true
			r.log.Warn("router solicitations are not answered for now", "interface", r.ifname, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(reopenEvery):
		}
	}
	return nil
}

// session answers until the socket fails or ctx ends.
func (r *Responder) session(ctx context.Context, opened func()) error {
	c, from, err := r.open()
	if err != nil {
		return err
	}
	opened()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	r.log.Debug("answering router solicitations", "interface", r.ifname)
	limit := newLimit(time.Now)
	frame := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(frame)
		if err != nil {
			return fmt.Errorf("receive on %s: %w", r.ifname, err)
		}
		s, err := parseSolicitation(frame[:n])
		if err != nil || !limit.allow(s.mac) {
			continue
		}
		if _, err := c.WriteTo(advertisement(from, s), &packet.Addr{HardwareAddr: s.mac[:]}); err != nil {
			return fmt.Errorf("send on %s: %w", r.ifname, err)
		}
	}
}

// open makes a socket that receives router solicitations only.
func (r *Responder) open() (*packet.Conn, source, error) {
	ifi, err := net.InterfaceByName(r.ifname)
	if err != nil {
		return nil, source{}, fmt.Errorf("interface %s: %w", r.ifname, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, source{}, fmt.Errorf("interface %s is not Ethernet", r.ifname)
	}
	filter, err := bpf.Assemble(solicitations())
	if err != nil {
		return nil, source{}, fmt.Errorf("filter: %w", err)
	}
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, &packet.Config{Filter: filter})
	if err != nil {
		return nil, source{}, fmt.Errorf("packet socket on %s: %w", r.ifname, err)
	}
	if err := joinAllRouters(c, ifi.Index); err != nil {
		c.Close()
		return nil, source{}, fmt.Errorf("join all-routers on %s: %w", r.ifname, err)
	}
	return c, sourceOf(ifi), nil
}

// solicitations passes frames that are IPv6, directly ICMPv6, type 133.
func solicitations() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 20, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 54, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeSolicitation, SkipTrue: 1},
		bpf.RetConstant{Val: 2048},
		bpf.RetConstant{Val: 0},
	}
}

// joinAllRouters has the device receive ff02::2, which is where solicitations
// are sent, without the interface needing IPv6.
func joinAllRouters(c *packet.Conn, index int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: 6,
		Address: [8]uint8{0x33, 0x33, 0, 0, 0, 2}}
	ctrl := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m)
	})
	return errors.Join(ctrl, err)
}
