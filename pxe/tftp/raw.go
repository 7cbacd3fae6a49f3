package tftp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below never sleep, so they are made without telling Go's
// scheduler, which would otherwise hand this thread's work to another one in
// the middle of every long send: measured, that costs more than the send.

// rawRead reads one packet from a non-blocking socket.
func rawRead(fd int, p []byte) (int, error) {
	return rawCall(unix.SYS_READ, fd, p)
}

// rawWrite sends p, which is not empty, on a non-blocking socket.
func rawWrite(fd int, p []byte) (int, error) {
	return rawCall(unix.SYS_WRITE, fd, p)
}

func rawCall(trap uintptr, fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// poller waits for a loop's sockets.
type poller struct {
	epoll int
	brisk bool // the last wait was short: the next is likely to be
}

// spinFor is how long a poller looks before it sleeps, while waits are short.
// A lock-step client answers in some 20 µs, less than it takes to put a
// thread to sleep and wake it.
const spinFor = 40 * time.Microsecond

// wait returns the ready sockets, waiting up to timeout milliseconds, or
// without bound for -1.
func (p *poller) wait(events []unix.EpollEvent, timeout int) (int, error) {
	n := p.poll(events)
	if n > 0 {
		return n, nil
	}
	start := time.Now()
	for p.brisk {
		if n = p.poll(events); n > 0 {
			return n, nil
		}
		// The client may be waiting for this very processor.
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		p.brisk = time.Since(start) < spinFor
	}
	n, err := unix.EpollWait(p.epoll, events, timeout)
	p.brisk = time.Since(start) < 2*spinFor
	return n, err
}

// poll returns the sockets that are ready now.
func (p *poller) poll(events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0 // the sleeping call will tell
	}
	return int(n)
}
