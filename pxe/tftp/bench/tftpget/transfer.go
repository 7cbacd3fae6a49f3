package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxTimeouts ends a transfer whose server is silent.
const maxTimeouts = 8

// transfer is one download in progress.
type transfer struct {
	*load
	fd       int
	peer     bool   // the server's transfer port is known, and fd connected to it
	packet   []byte // what to send again after a timeout
	size     int    // of a full block
	next     uint16 // block expected
	since    int    // blocks since the last ACK; -1: a gap has been told of
	began    time.Time
	heard    time.Time
	bytes    int64
	timeouts int
	window   int
}

func newTransfer(l *load) (*transfer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if l.window > 1 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // as much as the kernel grants
	}
	now := time.Now()
	return &transfer{load: l, fd: fd, packet: l.request(), size: 512, next: 1, window: 1, began: now, heard: now}, nil
}

func (l *load) request() []byte {
	fields := []string{l.file, "octet"}
	if l.block > 0 {
		fields = append(fields, "blksize", strconv.Itoa(l.block))
	}
	if l.window > 0 {
		fields = append(fields, "windowsize", strconv.Itoa(l.window))
	}
	return []byte("\x00\x01" + strings.Join(fields, "\x00") + "\x00")
}

// receive takes all packets that have arrived.
func (t *transfer) receive(box *inbox, now time.Time) (done bool, err error) {
	t.heard = now
	if !t.peer { // the answer's port is the transfer's
		n, from, err := unix.Recvfrom(t.fd, box.packets[0][:], 0)
		if err != nil {
			return false, passing(err)
		}
		if err := unix.Connect(t.fd, from); err != nil {
			return false, fmt.Errorf("connect: %w", err)
		}
		t.peer = true
		return t.take(box.packets[0][:n])
	}
	n, err := box.fill(t.fd, t.window)
	for i := 0; i < n && !done && err == nil; i++ {
		done, err = t.take(box.packets[i][:box.headers[i].len])
	}
	return done, passing(err)
}

// passing drops the errors that mean "nothing here".
func passing(err error) error {
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

func (t *transfer) expire(now time.Time) error {
	if now.Sub(t.heard) < t.timeout {
		return nil
	}
	if t.timeouts++; t.timeouts > maxTimeouts {
		return fmt.Errorf("no answer after %d bytes", t.bytes)
	}
	t.heard, t.since = now, 0
	t.send()
	return nil
}

// send holds the packet back for the delay, by spinning so that it is exact,
// and sends it. A loss is made good after the timeout.
func (t *transfer) send() {
	if t.delay > 0 {
		for end := time.Now().Add(t.delay); time.Now().Before(end); {
		}
	}
	if !t.peer {
		_ = unix.Sendto(t.fd, t.packet, 0, &t.server)
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(t.fd), uintptr(unsafe.Pointer(&t.packet[0])), uintptr(len(t.packet)))
}

func (t *transfer) ack(block uint16) {
	t.packet = append(t.packet[:0], 0, 4, byte(block>>8), byte(block))
	t.send()
}

func (t *transfer) take(p []byte) (done bool, err error) {
	if len(p) < 4 {
		return false, nil
	}
	switch binary.BigEndian.Uint16(p) {
	case 5:
		return false, fmt.Errorf("server: %s", strings.TrimRight(string(p[4:]), "\x00"))
	case 6:
		t.options(strings.Split(string(p[2:]), "\x00"))
		t.ack(0)
	case 3:
		return t.data(binary.BigEndian.Uint16(p[2:]), len(p)-4), nil
	}
	return false, nil
}

func (t *transfer) options(fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		n, _ := strconv.Atoi(fields[i+1])
		switch strings.ToLower(fields[i]) {
		case "blksize":
			t.size = n
		case "windowsize":
			t.window = n
		}
	}
}

func (t *transfer) data(block uint16, size int) (done bool) {
	if block != t.next {
		if int16(block-t.next) > 0 && t.since >= 0 { // a gap: say so once
			t.ack(t.next - 1)
			t.since = -1
		}
		return false
	}
	t.bytes += int64(size)
	t.next++
	t.since = max(t.since, 0) + 1
	last := size < t.size
	if last || t.since >= t.window {
		t.ack(block)
		t.since = 0
	}
	return last
}
