package httpboot

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Scripter decides what a machine boots now.
type Scripter interface {
	// Script plans the boot of the machine with this MAC address, which asks
	// from this IP address. It is called once for every script that is fetched,
	// concurrently, with the request's context. After an error the machine is
	// told to ask again in ten seconds; the error's text goes to the log only.
	Script(ctx context.Context, mac net.HardwareAddr, from netip.Addr) (Plan, error)
}

// Plan is what a machine is told to do: a NetbootAgent, LocalDisk, Wait or
// Refuse.
type Plan interface{ isPlan() }

// NetbootAgent boots a kernel with initial RAM disks.
type NetbootAgent struct {
	Kernel     string   // URL path on this server, as "/boot/netboot/vmlinuz"
	BIOSKernel string   // instead of Kernel on machines started by BIOS, if not empty
	Initrds    []string // URL paths, in the order in which the kernel is to unpack them
	Args       []string // kernel arguments, one each, without white space
}

// LocalDisk boots the machine's own disk. With BIOS the boot sector of the
// first disk that has one is started; with UEFI the firmware goes on to the next
// entry of its boot order.
type LocalDisk struct{}

// Wait has the machine ask again.
type Wait struct {
	For    time.Duration // rounded up to seconds; 1 s to 1 h
	Reason string        // for the person at the console
}

// Refuse boots nothing: the machine shows why and asks again each minute, so
// that it needs no power cycle once the reason is gone.
type Refuse struct {
	Reason string // for the person at the console
}

func (NetbootAgent) isPlan() {}
func (LocalDisk) isPlan()    {}
func (Wait) isPlan()         {}
func (Refuse) isPlan()       {}
