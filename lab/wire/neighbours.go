package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// Neighbours knows the IPv4 address that each Ethernet address on a bridge
// uses, learnt from the ARP requests (RFC 826) that it broadcasts. Its methods
// may be called from any goroutine.
type Neighbours struct {
	conn *packet.Conn
	done chan struct{}

	mu    sync.Mutex // guards addrs
	addrs map[[6]byte]netip.Addr
}

// Neighbours starts to listen on a bridge, until [Neighbours.Close].
func (w *Wire) Neighbours(bridge string) (*Neighbours, error) {
	conn, err := w.listenFrames(bridge, unix.ETH_P_ARP)
	if err != nil {
		return nil, err
	}
	n := &Neighbours{conn: conn, done: make(chan struct{}), addrs: map[[6]byte]netip.Addr{}}
	go n.listen()
	return n, nil
}

// listenFrames opens a packet(7) socket for one Ethernet type on a device.
func (w *Wire) listenFrames(device string, etherType int) (conn *packet.Conn, err error) {
	err = w.L2.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, etherType, nil)
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", device, err)
		}
		return nil
	})
	return conn, err
}

func (n *Neighbours) listen() {
	defer close(n.done)
	frame := make([]byte, 2048)
	for {
		size, _, err := n.conn.ReadFrom(frame)
		if err != nil {
			return
		}
		if mac, ip, ok := parseARP(frame[:size]); ok {
			n.mu.Lock()
			n.addrs[mac] = ip
			n.mu.Unlock()
		}
	}
}

// Addr returns the last address that mac used; false if it has not been heard.
func (n *Neighbours) Addr(mac string) (netip.Addr, bool) {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return netip.Addr{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.addrs[[6]byte(hw)]
	return addr, ok
}

// Close stops listening.
func (n *Neighbours) Close() {
	n.conn.Close()
	<-n.done
}

// Announce broadcasts a gratuitous ARP request (RFC 5227, 3) out of one of the
// appliance's interfaces, as a machine does that has just got its address.
func (w *Wire) Announce(device, mac, ip string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return fmt.Errorf("announce %s: want an Ethernet address", mac)
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is4() {
		return fmt.Errorf("announce %s: want an IPv4 address", ip)
	}
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame := append(append(append([]byte(nil), broadcast...), hw...), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(append(frame, hw...), addr.AsSlice()...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
	return w.App.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return fmt.Errorf("announce on %s: %w", device, err)
		}
		conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
		if err != nil {
			return fmt.Errorf("announce on %s: %w", device, err)
		}
		defer conn.Close()
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: broadcast}); err != nil {
			return fmt.Errorf("announce on %s: %w", device, err)
		}
		return nil
	})
}

// parseARP returns the sender of an Ethernet frame with ARP for IPv4. A probe
// (RFC 5227), whose sender has no address yet, is none.
func parseARP(frame []byte) (mac [6]byte, ip netip.Addr, ok bool) {
	const header, size = 14, 28
	if len(frame) < header+size || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP {
		return mac, ip, false
	}
	arp := frame[header:]
	const ethernetIPv4 = 0x0001_0800_06_04 // hardware and protocol types and lengths
	if binary.BigEndian.Uint64(arp)>>16 != ethernetIPv4 {
		return mac, ip, false
	}
	copy(mac[:], arp[8:14])
	ip = netip.AddrFrom4([4]byte(arp[14:18]))
	return mac, ip, !ip.IsUnspecified()
}

// DHCPClient waits until a DHCP client (RFC 2131) whose hardware address is mac
// broadcasts on a bridge: proof that a machine's firmware is alive.
func (w *Wire) DHCPClient(ctx context.Context, bridge, mac string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	conn, err := w.listenFrames(bridge, unix.ETH_P_IP)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	frame := make([]byte, 2048)
	for {
		size, _, err := conn.ReadFrom(frame)
		if ctx.Err() != nil {
			return fmt.Errorf("no DHCP from %s on %s: %w", mac, bridge, ctx.Err())
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", bridge, err)
		}
		if chaddr, ok := parseDHCPClient(frame[:size]); ok && chaddr == [6]byte(hw) {
			return nil
		}
	}
}

// parseDHCPClient returns the chaddr of an Ethernet frame with a BOOTREQUEST in
// UDP over IPv4.
func parseDHCPClient(frame []byte) (chaddr [6]byte, ok bool) {
	if len(frame) < 14+20 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return chaddr, false
	}
	ip := frame[14:]
	header := int(ip[0]&0xf) * 4
	if ip[0]>>4 != 4 || ip[9] != unix.IPPROTO_UDP || header < 20 || len(ip) < header+8+236 {
		return chaddr, false
	}
	udp, bootp := ip[header:], ip[header+8:]
	const bootRequest, ethernet = 1, 1
	if binary.BigEndian.Uint16(udp[2:]) != 67 || bootp[0] != bootRequest || bootp[1] != ethernet || bootp[2] != 6 {
		return chaddr, false
	}
	copy(chaddr[:], bootp[28:34])
	return chaddr, true
}
