package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/job"
)

// lldpGroups are the addresses that LLDP is sent to (802.1AB-2016 table 7-1):
// nearest bridge, nearest non-TPMR bridge, nearest customer bridge.
var lldpGroups = [...][6]byte{
	{0x01, 0x80, 0xc2, 0, 0, 0x0e}, {0x01, 0x80, 0xc2, 0, 0, 0x03}, {0x01, 0x80, 0xc2, 0, 0, 0x00},
}

// linkWait is how long NICs get to find a link before those without are given
// up on: gigabit copper negotiates in 2 to 4 s.
const linkWait = 6 * time.Second

// Listen sets every NIC up and hears LLDP on those with link for at most wait.
// It returns, by NIC name, what was heard, as soon as each heard something.
func Listen(ctx context.Context, root fs.FS, wait time.Duration, log *slog.Logger) map[string][]job.Neighbour {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var mu sync.Mutex // guards heard
	heard := map[string][]job.Neighbour{}
	var wg sync.WaitGroup
	for _, nic := range NICs(root) {
		wg.Go(func() {
			ns, err := listenOn(ctx, root, nic.Name)
			if err != nil {
				log.Warn("LLDP cannot be heard", "nic", nic.Name, "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			heard[nic.Name] = ns
		})
	}
	wg.Wait()
	return heard
}

func listenOn(ctx context.Context, root fs.FS, name string) ([]job.Neighbour, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return nil, err
	}
	fd, err := lldpSocket(l.Attrs().Index)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if !waitLink(ctx, root, name) {
		return nil, nil
	}
	return hear(ctx, fd)
}

// waitLink waits until the NIC has a link, or no longer than linkWait.
func waitLink(ctx context.Context, root fs.FS, name string) bool {
	limit := time.After(linkWait)
	for {
		if text(root, netDir, name, "carrier") == "1" {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-limit:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pollEvery is how often a listener looks whether it should stop.
const pollEvery = 200 * time.Millisecond

// lldpSocket is a packet socket that gets LLDP only.
func lldpSocket(ifindex int) (int, error) {
	proto := binary.NativeEndian.Uint16([]byte{unix.ETH_P_LLDP >> 8, unix.ETH_P_LLDP & 0xff})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	fail := func(what string, err error) (int, error) {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", what, err)
	}
	for _, g := range lldpGroups {
		m := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], g[:])
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fail("join "+net.HardwareAddr(g[:]).String(), err)
		}
	}
	tv := unix.NsecToTimeval(int64(pollEvery))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fail("receive timeout", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifindex}); err != nil {
		return fail("bind", err)
	}
	return fd, nil
}

// hear reads data units until one made sense, or ctx ends. Others that came with
// it are taken too.
func hear(ctx context.Context, fd int) ([]job.Neighbour, error) {
	var out []job.Neighbour
	buf := make([]byte, 9216)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) && len(out) > 0 {
			return out, nil
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return out, err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if nb, err := parseLLDP(buf[:n]); err == nil && !slices.Contains(out, nb) {
			out = append(out, nb)
		}
	}
	return out, nil
}
