package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxTimeouts ends a transfer whose server is silent.
const maxTimeouts = 8

// result is what one transfer came to.
type result struct {
	bytes    int64
	timeouts int64
	window   int
}

// transfer is one download in progress.
type transfer struct {
	*load
	c      *net.UDPConn
	peer   *net.UDPAddr // the server's transfer port, once it has answered
	packet []byte       // what to send again after a timeout
	size   int          // of a full block
	next   uint16       // block expected
	since  int          // blocks since the last ACK; -1: a gap has been told of
	result
}

// get downloads the file once and throws it away.
func (l *load) get() (result, error) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 20)
	t := transfer{load: l, c: c, packet: l.request(), size: 512, next: 1, result: result{window: 1}}
	err = t.run()
	return t.result, err
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

func (t *transfer) run() error {
	t.send()
	buf := make([]byte, 1<<16)
	for {
		_ = t.c.SetReadDeadline(time.Now().Add(t.timeout))
		n, from, err := t.c.ReadFromUDP(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if t.timeouts++; t.timeouts > maxTimeouts {
				return fmt.Errorf("no answer after %d bytes", t.bytes)
			}
			t.since = 0
			t.send()
			continue
		case err != nil:
			return err
		case n < 4:
			continue
		}
		if t.peer == nil {
			t.peer = from
		}
		done, err := t.take(buf[:n])
		if done || err != nil {
			return err
		}
	}
}

// send holds the packet back for the delay, by spinning so that it is exact,
// and sends it.
func (t *transfer) send() {
	if t.delay > 0 {
		for end := time.Now().Add(t.delay); time.Now().Before(end); {
		}
	}
	to := t.peer
	if to == nil {
		to = t.server
	}
	_, _ = t.c.WriteToUDP(t.packet, to) // a loss is made good after the timeout
}

func (t *transfer) ack(block uint16) {
	t.packet = []byte{0, 4, byte(block >> 8), byte(block)}
	t.send()
}

func (t *transfer) take(p []byte) (done bool, err error) {
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
			t.result.window = n
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
	if last || t.since >= t.result.window {
		t.ack(block)
		t.since = 0
	}
	return last
}
