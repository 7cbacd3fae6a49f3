package dhcp

import (
	"fmt"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/pxe/internal/device"
)

// Queue sizes in bytes of socket buffer; the kernel charges 1-2 kB a packet.
// Discovers wait in a short queue: when it is full the kernel drops them at no
// cost of ours, and what is in it is young. Everything else has a long one, as
// a lost request wastes the exchange that led to it.
const (
	discoverQueue = 1 << 20
	requestQueue  = 8 << 20
	sendQueue     = 4 << 20
)

// sockets are what the server listens and sends on.
type sockets struct {
	requests  int // all but discovers; also sends
	discovers int
	boot      int // port 4011, or -1
	link      int // sends frames to clients without an address
	device    *device.Device
}

// openSockets binds to cfg's interface. Two sockets share the port: a BPF
// program steers discovers to one and all else to the other, so that the kernel
// keeps two queues for us.
func openSockets(cfg Config) (*sockets, error) {
	s := &sockets{requests: -1, discovers: -1, boot: -1, link: -1}
	if err := s.open(cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sockets) open(cfg Config) (err error) {
	// Protocol 0: it receives nothing.
	if s.link, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("dhcp: packet socket: %w", err)
	}
	if s.device, err = device.Open(cfg.Interface); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	// A port shared by SO_REUSEPORT would be shared with a second server of
	// ours as well, and neither would notice. So ask for it alone first.
	if err := portIsFree(cfg.Interface, cfg.Port); err != nil {
		return err
	}
	// The order of binding is the index that the steering program returns.
	if s.requests, err = udpSocket(cfg.Interface, cfg.Port, true, requestQueue); err != nil {
		return err
	}
	if s.discovers, err = udpSocket(cfg.Interface, cfg.Port, true, discoverQueue); err != nil {
		return err
	}
	if err := s.steer(); err != nil {
		return err
	}
	if cfg.Proxy {
		if s.boot, err = udpSocket(cfg.Interface, proxyPort, false, requestQueue); err != nil {
			return err
		}
	}
	return nil
}

// portIsFree takes a port and lets go of it. No process is forked meanwhile: until
// it executes its program it would have the port too.
func portIsFree(device string, port uint16) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := udpSocket(device, port, false, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func udpSocket(device string, port uint16, shared bool, queue int) (int, error) {
	fail := func(fd int, what string, err error) (int, error) {
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, fmt.Errorf("dhcp: UDP port %d on %s: %s: %w", port, device, what, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail(-1, "socket", err)
	}
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device); err != nil {
		return fail(fd, "bind to device", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fail(fd, "allow broadcast", err)
	}
	if shared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fail(fd, "share port", err)
		}
		buffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, queue)
		buffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendQueue)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return fail(fd, "bind", err)
	}
	return fd, nil
}

// buffer sets a socket buffer's size, within the system's limit where we may
// not exceed that. A smaller buffer only drops sooner.
func buffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

// steer attaches the programs that part discovers from the rest. Unicast
// packets are steered by the port's program; broadcast ones reach both sockets,
// each of which has a filter for its own. Both look at the place where every
// client known puts the message type: first (option 53 at offset 240). A
// discover that has it elsewhere only waits in the better queue.
func (s *sockets) steer() error {
	const anyBytes = 1 << 18
	// Start of the UDP payload is 0 for the port's program, 8 for filters.
	program := func(base, discover, other uint32) []bpf.Instruction {
		return []bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtLen},
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: base + offOpts + 3, SkipTrue: 5},
			bpf.LoadAbsolute{Off: base + offOpts, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: optType<<8 | 1, SkipTrue: 3},
			bpf.LoadAbsolute{Off: base + offOpts + 2, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(typeDiscover), SkipTrue: 1},
			bpf.RetConstant{Val: discover},
			bpf.RetConstant{Val: other},
		}
	}
	for _, p := range []struct {
		fd, opt         int
		base, yes, rest uint32
	}{
		{s.requests, unix.SO_ATTACH_FILTER, 8, 0, anyBytes},
		{s.discovers, unix.SO_ATTACH_FILTER, 8, anyBytes, 0},
		{s.requests, unix.SO_ATTACH_REUSEPORT_CBPF, 0, 1, 0},
	} {
		raw, err := bpf.Assemble(program(p.base, p.yes, p.rest))
		if err != nil {
			return fmt.Errorf("dhcp: assemble filter: %w", err)
		}
		code := make([]unix.SockFilter, len(raw))
		for i, r := range raw {
			code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
		}
		if err := unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, p.opt, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
			return fmt.Errorf("dhcp: attach filter: %w", err)
		}
	}
	return nil
}

// close closes the sockets; it waits for a fork under way, as portIsFree does.
func (s *sockets) close() {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, fd := range []int{s.requests, s.discovers, s.boot, s.link} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if s.device != nil {
		s.device.Close()
	}
}
