// Command tftpget is a TFTP load client (RFC 2347, 2348 and 7440) that can hold
// each request and ACK back, as a longer wire would:
//
//	tftpget -addr HOST:PORT -file NAME -blk 1468 -win 64 -delay 200us -c 64 -n 10000
//
// It prints one line of key=value: bytes, seconds, MB/s, requests/s, the
// window that was granted, latency percentiles, timeouts and errors. It makes
// one system call a packet, which bounds what it can measure.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what to fetch and how.
type load struct {
	server  *net.UDPAddr
	file    string
	block   int           // 0: do not ask
	window  int           // 0: do not ask
	delay   time.Duration // before each packet of ours
	timeout time.Duration
}

func main() {
	var l load
	addr := flag.String("addr", "127.0.0.1:69", "server")
	clients := flag.Int("c", 1, "clients at one time")
	total := flag.Int64("n", 1, "transfers in all")
	flag.StringVar(&l.file, "file", "f", "file name")
	flag.IntVar(&l.block, "blk", 1468, "blksize to ask for; 0: do not ask")
	flag.IntVar(&l.window, "win", 0, "windowsize to ask for; 0: do not ask")
	flag.DurationVar(&l.delay, "delay", 0, "hold each packet back for so long")
	flag.DurationVar(&l.timeout, "timeout", time.Second, "wait for a packet")
	flag.Parse()
	server, err := net.ResolveUDPAddr("udp4", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tftpget:", err)
		os.Exit(1)
	}
	l.server = server
	l.run(*clients, *total)
}

// run makes total transfers with so many clients and prints the result.
func (l *load) run(clients int, total int64) {
	var left, bytes, timeouts, failed atomic.Int64
	left.Store(total)
	var mu sync.Mutex // guards took and window
	var took []time.Duration
	var window int
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				began := time.Now()
				r, err := l.get()
				if err != nil {
					fmt.Fprintln(os.Stderr, "tftpget:", err)
					failed.Add(1)
				}
				bytes.Add(r.bytes)
				timeouts.Add(r.timeouts)
				mu.Lock()
				took, window = append(took, time.Since(began)), r.window
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	secs := time.Since(start).Seconds()
	slices.Sort(took)
	percentile := func(p int) float64 { return took[(len(took)-1)*p/100].Seconds() * 1e3 }
	fmt.Printf("bytes=%d secs=%.3f MBps=%.1f reqps=%.1f win=%d p50ms=%.2f p99ms=%.2f timeouts=%d errs=%d\n",
		bytes.Load(), secs, float64(bytes.Load())/1e6/secs, float64(len(took))/secs, window,
		percentile(50), percentile(99), timeouts.Load(), failed.Load())
}
