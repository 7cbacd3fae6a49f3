package tftp

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

// Config is what a Server needs; the zero value of a field means its default.
type Config struct {
	// Listen is the address and port of requests; default 0.0.0.0:69. Port 0
	// lets the kernel choose: see Server.Addr. Transfers answer from the
	// address that the request was sent to.
	Listen netip.AddrPort
	// Interface, if set, binds all sockets to this network interface
	// (SO_BINDTODEVICE), so that nobody on another network is served.
	Interface string
	// Sessions bounds the transfers at one time; default 512. A request beyond
	// it is refused, and firmware tries again.
	Sessions int
	// SessionsPerClient bounds the transfers of one address; default 16.
	SessionsPerClient int
	// Window is the largest windowsize granted, in blocks; default 128. A
	// window is also bounded to 128 KiB.
	Window int
	// Timeout is how long an ACK is awaited before blocks are sent again, if
	// the client names no interval of its own; default 1 s. It doubles with
	// each retransmission without progress, to 8 times.
	Timeout time.Duration
	// Retries is how often that happens without progress before the transfer
	// is given up; default 6.
	Retries int
	// Deadline bounds a whole transfer; default 15 min.
	Deadline time.Duration
	// OpenTimeout bounds the Opener; default 5 s.
	OpenTimeout time.Duration
	// Fragment permits block sizes beyond one frame, as IP fragments. It is off
	// because firmware often cannot reassemble them, and because one lost
	// fragment loses the block.
	Fragment bool
	// NoSegmentation sends windows by sendmmsg even where the kernel has UDP
	// segmentation offload; for measuring and for broken devices.
	NoSegmentation bool
	// Loops is the number of event loops; default half the processors, at
	// least 1 and at most 4. One serves some 100,000 packets a second.
	Loops int
	// OnTransfer, if set, is called at the end of every transfer, from an event
	// loop: it must not block.
	OnTransfer func(Transfer)
}

// Transfer describes a transfer that has ended.
type Transfer struct {
	Peer       netip.AddrPort
	Name       string
	Bytes      int64 // acknowledged by the client, headers not counted
	Took       time.Duration
	BlockSize  int   // bytes
	Window     int   // blocks
	Resent     int   // blocks sent more than once
	Err        error // nil if the client has everything
	Negotiated bool  // an option was granted
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defd := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if !c.Listen.IsValid() {
		c.Listen = netip.AddrPortFrom(netip.IPv4Unspecified(), 69)
	}
	def(&c.Sessions, 512)
	def(&c.SessionsPerClient, 16)
	def(&c.Window, 128)
	def(&c.Retries, 6)
	def(&c.Loops, min(4, max(1, runtime.NumCPU()/2)))
	defd(&c.Timeout, time.Second)
	defd(&c.Deadline, 15*time.Minute)
	defd(&c.OpenTimeout, 5*time.Second)
	return c
}

// Validate reports every field that is out of range. It takes zero as the
// default.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, f := range []struct {
		name string
		v    int
		max  int
	}{
		{"Sessions", c.Sessions, 1 << 16}, {"SessionsPerClient", c.SessionsPerClient, 1 << 16},
		{"Window", c.Window, maxWindow / 2}, {"Retries", c.Retries, 1000}, {"Loops", c.Loops, 256},
	} {
		if f.v < 1 || f.v > f.max {
			errs = append(errs, fmt.Errorf("tftp: %s is %d, must be 1 to %d", f.name, f.v, f.max))
		}
	}
	for _, f := range []struct {
		name string
		v    time.Duration
	}{{"Timeout", c.Timeout}, {"Deadline", c.Deadline}, {"OpenTimeout", c.OpenTimeout}} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("tftp: %s is %v, must be positive", f.name, f.v))
		}
	}
	return errors.Join(errs...)
}
