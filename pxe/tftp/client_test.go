package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// content is reproducible noise with all kinds of line ends in it.
func content(n int) []byte {
	rng, b := rand.New(rand.NewPCG(7, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
		if i%61 == 0 {
			b[i] = '\n'
		}
	}
	return b
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// download is what our own client, which speaks RFC 7440, got.
type download struct {
	data    []byte
	options map[string]string // of the OACK
	longest int               // data bytes of the longest DATA packet
	burst   int               // most blocks that came between two ACKs of ours
	peer    netip.AddrPort
}

// fetch downloads a file. Options are name, value, name, value …
func fetch(server netip.AddrPort, timeout time.Duration, fields ...string) (d download, err error) {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return d, err
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 20)
	f := fetcher{c: c, to: server, timeout: timeout, block: 512, window: 1, out: rrq(fields...)}
	err = f.run()
	return f.d, err
}

// fetcher is a client in the middle of a transfer.
type fetcher struct {
	c       *net.UDPConn
	to      netip.AddrPort
	timeout time.Duration
	out     []byte // what to repeat after a timeout
	block   int
	window  int
	got     uint64 // blocks received in order
	since   int    // of them since the last ACK
	gap     bool   // an ACK for a gap has been sent
	d       download
}

func (f *fetcher) run() error {
	buf := make([]byte, 1<<16)
	for tries := 0; tries < 20; {
		if _, err := f.c.WriteToUDPAddrPort(f.out, f.to); err != nil {
			return err
		}
		for {
			_ = f.c.SetReadDeadline(time.Now().Add(f.timeout))
			n, from, err := f.c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				tries++
				f.since, f.gap = 0, false
				break
			}
			if err != nil {
				return err
			}
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			if f.d.peer.IsValid() && from != f.d.peer {
				continue // another TID
			}
			before := f.got
			send, done, err := f.packet(buf[:n], from)
			if f.got > before {
				tries = 0
			}
			if err != nil {
				return err
			}
			if send || done {
				if _, err := f.c.WriteToUDPAddrPort(f.out, f.to); err != nil || done {
					return err
				}
			}
		}
	}
	return fmt.Errorf("timed out after %d blocks", f.got)
}

func (f *fetcher) packet(p []byte, from netip.AddrPort) (send, done bool, err error) {
	f.d.peer, f.to = from, from
	switch binary.BigEndian.Uint16(p) {
	case opError:
		return false, false, &Error{ErrorCode(binary.BigEndian.Uint16(p[2:])), string(bytes.TrimRight(p[4:], "\x00"))}
	case opOAck:
		f.takeOptions(p)
		f.ack()
		return f.got == 0, false, nil
	case opData:
		return f.takeData(binary.BigEndian.Uint16(p[2:]), p[4:])
	}
	return false, false, fmt.Errorf("packet %x", p[:2])
}

func (f *fetcher) takeOptions(p []byte) {
	f.d.options = map[string]string{}
	parts := strings.Split(string(p[2:]), "\x00")
	for i := 0; i+1 < len(parts); i += 2 {
		f.d.options[parts[i]] = parts[i+1]
		n, _ := strconv.Atoi(parts[i+1])
		switch parts[i] {
		case "blksize":
			f.block = n
		case "windowsize":
			f.window = n
		}
	}
}

func (f *fetcher) takeData(block uint16, data []byte) (send, done bool, err error) {
	f.d.longest = max(f.d.longest, len(data))
	if block != uint16(f.got+1) {
		if int16(block-uint16(f.got)) > 0 && !f.gap && f.window > 1 { // something is missing: say so once
			f.gap, f.since = true, 0
			return true, false, nil
		}
		return false, false, nil
	}
	f.got++
	f.since++
	f.gap = false
	f.d.burst = max(f.d.burst, f.since)
	f.d.data = append(f.d.data, data...)
	f.ack()
	if len(data) < f.block {
		return true, true, nil
	}
	if f.since == f.window {
		f.since = 0
		return true, false, nil
	}
	return false, false, nil
}

func (f *fetcher) ack() {
	f.out = binary.BigEndian.AppendUint16([]byte{0, opAck}, uint16(f.got))
}
