package tftp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spinLimit bounds how long a loop asks for news before it sleeps: as long as a
// client on the same wire takes to answer. A sleep and its wake-up cost the
// transfer some 50 µs of it.
const spinLimit = 300 * time.Microsecond

// waiter waits for a loop's events. As long as answers come back faster than
// spinLimit it asks again and again; the first that takes longer, because the
// client is far away or has no processor to run on, makes it sleep at once,
// until a sleep turns out to have been that short. KVM's halt polling does the
// same (Documentation/virt/kvm/halt-polling.rst).
type waiter struct {
	epoll int
	spin  bool
}

// wait returns how many events it has put into events: after at most timeout
// milliseconds, or none before there is one if that is negative.
func (w *waiter) wait(events []unix.EpollEvent, timeout int) (int, error) {
	began := time.Now()
	for w.spin {
		n, err := pollNow(w.epoll, events)
		if n > 0 || err != nil {
			return n, err
		}
		if time.Since(began) > spinLimit {
			break
		}
	}
	n, err := unix.EpollWait(w.epoll, events, timeout)
	w.spin = n > 0 && time.Since(began) < spinLimit
	return n, err
}

// pollNow is epoll_pwait(2) that does not sleep, and so, like those of raw.go,
// is no business of Go's scheduler.
func pollNow(epoll int, events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
