// Command tftpget is a TFTP load client (RFC 2347, 2348 and 7440) that can hold
// each request and ACK back, as a longer wire would:
//
//	tftpget -addr HOST:PORT -file NAME -blk 1468 -win 64 -delay 200us -c 1
//	tftpget -addr HOST:PORT -file NAME -c 64 -n 10000
//
// It prints one line of key=value: bytes, seconds, MB/s, requests/s, the
// window that was granted, latency percentiles, timeouts and errors.
//
// All transfers run on one thread, with one receiving call for all packets that
// have arrived, so that it takes less of the machine than what it measures.
// Holding back spins, and so is for one client.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// load is what to fetch and how, and what came of it.
type load struct {
	server  unix.SockaddrInet4
	file    string
	block   int           // 0: do not ask
	window  int           // 0: do not ask
	delay   time.Duration // before each packet of ours
	timeout time.Duration

	epoll     int
	transfers map[int32]*transfer // by descriptor
	box       *inbox
	left      int // transfers to begin
	failed    int
	bytes     int64
	timeouts  int
	granted   int // windowsize
	took      []time.Duration
}

func main() {
	l := load{transfers: map[int32]*transfer{}, box: newInbox()}
	addr := flag.String("addr", "127.0.0.1:69", "server")
	clients := flag.Int("c", 1, "clients at one time")
	flag.IntVar(&l.left, "n", 1, "transfers in all")
	flag.StringVar(&l.file, "file", "f", "file name")
	flag.IntVar(&l.block, "blk", 1468, "blksize to ask for; 0: do not ask")
	flag.IntVar(&l.window, "win", 0, "windowsize to ask for; 0: do not ask")
	flag.DurationVar(&l.delay, "delay", 0, "hold each packet back for so long")
	flag.DurationVar(&l.timeout, "timeout", time.Second, "wait for a packet")
	flag.Parse()
	if err := l.main(*addr, *clients); err != nil {
		fmt.Fprintln(os.Stderr, "tftpget:", err)
		os.Exit(1)
	}
}

func (l *load) main(addr string, clients int) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil || !to.Addr().Is4() {
		return fmt.Errorf("-addr %q: want an IPv4 address and a port", addr)
	}
	if clients < 1 || l.left < 1 || l.delay > 0 && clients > 1 {
		return errors.New("-c and -n are at least 1, and -delay is for one client")
	}
	l.server = unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	runtime.LockOSThread()
	start := time.Now()
	if err := l.run(clients); err != nil {
		return err
	}
	l.report(time.Since(start).Seconds())
	return nil
}

// run makes all transfers, so many at a time.
func (l *load) run(clients int) error {
	for range clients {
		if err := l.begin(); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, 128)
	swept := time.Now()
	for len(l.transfers) > 0 {
		n, err := unix.EpollWait(l.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			if err := l.ready(l.transfers[e.Fd], now); err != nil {
				return err
			}
		}
		if now.Sub(swept) > 100*time.Millisecond {
			swept = now
			if err := l.sweep(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin starts a transfer, if any are left.
func (l *load) begin() error {
	if l.left == 0 {
		return nil
	}
	l.left--
	t, err := newTransfer(l)
	if err != nil {
		return err
	}
	l.transfers[int32(t.fd)] = t
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(t.fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, t.fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	t.send()
	return nil
}

// ready takes what has arrived for t, and begins another when t has ended.
func (l *load) ready(t *transfer, now time.Time) error {
	if t == nil {
		return nil
	}
	done, err := t.receive(l.box, now)
	return l.after(t, done, err)
}

// sweep sends again what had no answer in time.
func (l *load) sweep(now time.Time) error {
	for _, t := range l.transfers {
		if err := l.after(t, false, t.expire(now)); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) after(t *transfer, done bool, err error) error {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tftpget:", err)
		l.failed++
	}
	if !done && err == nil {
		return nil
	}
	delete(l.transfers, int32(t.fd))
	_ = unix.Close(t.fd)
	l.bytes += t.bytes
	l.timeouts += t.timeouts
	l.granted = t.window
	l.took = append(l.took, time.Since(t.began))
	return l.begin()
}

func (l *load) report(secs float64) {
	slices.Sort(l.took)
	percentile := func(p int) float64 { return l.took[(len(l.took)-1)*p/100].Seconds() * 1e3 }
	fmt.Printf("bytes=%d secs=%.3f MBps=%.1f reqps=%.1f win=%d p50ms=%.2f p99ms=%.2f timeouts=%d errs=%d\n",
		l.bytes, secs, float64(l.bytes)/1e6/secs, float64(len(l.took))/secs, l.granted,
		percentile(50), percentile(99), l.timeouts, l.failed)
}
