package modules

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Hotplug loads the drivers of all devices that are there and that appear. Start
// it once with [Start].
type Hotplug struct {
	loader *Loader
	sys    fs.FS
	log    *slog.Logger
	sem    chan struct{}

	mu   sync.Mutex // guards seen, busy, last, later
	seen map[string]bool
	busy int
	last time.Time // of the last event or end of a load
	// later are aliases that wait for Rest; nil once it was called.
	later map[string]bool
}

// parallelLoads bounds modules being loaded at once: probing waits for hardware
// more than it computes.
const parallelLoads = 8

// Start listens for uevents (NETLINK_KOBJECT_UEVENT) until ctx ends, and loads
// the drivers of NICs. It returns when it listens. The other devices' drivers
// wait for Rest: a boot is over sooner if nothing competes with its network.
func Start(ctx context.Context, l *Loader, sys fs.FS, log *slog.Logger) (*Hotplug, error) {
	h := &Hotplug{loader: l, sys: sys, log: log, sem: make(chan struct{}, parallelLoads), seen: map[string]bool{}, last: time.Now(), later: map[string]bool{}}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind the uevent socket: %w", err)
	}
	go h.listen(ctx, fd)
	h.coldplug()
	return h, nil
}

// coldplug asks for the drivers of every device there is.
func (h *Hotplug) coldplug() {
	for _, d := range Devices(h.sys) {
		h.request(d.Alias, d.IsNetwork())
	}
}

// Rest loads the drivers of all other devices, in the background, and from now
// on of whatever appears. Calling it again does nothing.
func (h *Hotplug) Rest() {
	h.mu.Lock()
	later := h.later
	h.later = nil
	h.mu.Unlock()
	for _, a := range slices.Sorted(maps.Keys(later)) {
		h.request(a, true)
	}
}

// listen handles events; after an overrun it looks at everything again.
func (h *Hotplug) listen(ctx context.Context, fd int) {
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR); unix.Close(fd) })
	defer stop()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == unix.ENOBUFS:
			h.coldplug()
		case err == unix.EINTR:
		case err != nil:
			return
		default:
			h.event(string(buf[:n]))
		}
	}
}

// event is one uevent: "ACTION@PATH" and KEY=VALUE strings, NUL-separated.
func (h *Hotplug) event(msg string) {
	h.mu.Lock()
	h.last = time.Now()
	h.mu.Unlock()
	if !strings.HasPrefix(msg, "add@") {
		return
	}
	for _, kv := range strings.Split(msg, "\x00") {
		if a, ok := strings.CutPrefix(kv, "MODALIAS="); ok {
			h.request(a, strings.HasPrefix(a, virtioNIC))
		}
	}
}

// request loads what drives the alias, in the background, once; if it is not
// urgent, not before Rest.
func (h *Hotplug) request(alias string, urgent bool) {
	h.mu.Lock()
	if h.later != nil && !urgent {
		h.later[alias] = true
	}
	if h.seen[alias] || h.later[alias] {
		h.mu.Unlock()
		return
	}
	h.seen[alias] = true
	h.mu.Unlock()
	for _, name := range h.loader.Match(alias) {
		h.mu.Lock()
		h.busy++
		h.mu.Unlock()
		go h.load(name)
	}
}

func (h *Hotplug) load(name string) {
	h.sem <- struct{}{}
	defer func() { <-h.sem }()
	if err := h.loader.Load(name); err != nil {
		h.log.Warn("a driver did not load", "module", name, "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy--
	h.last = time.Now()
}

// Settle waits until no driver is being loaded and no device has appeared for
// quiet, but no longer than ctx. The kernel's init_module(2) returns after a
// driver's own asynchronous probing; only host bus adapters that scan in
// threads need the quiet time.
func (h *Hotplug) Settle(ctx context.Context, quiet time.Duration) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		h.mu.Lock()
		settled := h.busy == 0 && time.Since(h.last) >= quiet
		h.mu.Unlock()
		if settled {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("devices still appear: %w", ctx.Err())
		}
	}
}
