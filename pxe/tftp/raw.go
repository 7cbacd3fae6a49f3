package tftp

import (
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
