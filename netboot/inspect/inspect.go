// Package inspect takes a machine's inventory from what the Linux kernel and the
// firmware's tables say: processors, memory, disks, NICs, identity, firmware
// mode, and the LLDP neighbours on its cables.
//
// All of it but LLDP reads files below one root, so that recorded trees of real
// machines test it. What a file does not say is left empty; that a device lacks
// something is no error.
package inspect

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Options says what to inspect.
type Options struct {
	// Root is the file system's root, with proc and sys mounted.
	Root fs.FS
	// LLDPWait is how long to listen on NICs with link; 0 does not listen.
	LLDPWait time.Duration
	Log      *slog.Logger
}

// Collect takes the inventory. With LLDPWait it takes as long as that, or less
// if every NIC with link heard a neighbour before. The error is ctx's.
func Collect(ctx context.Context, o Options) (job.Inventory, error) {
	var heard map[string][]job.Neighbour
	if o.LLDPWait > 0 {
		heard = Listen(ctx, o.Root, o.LLDPWait, o.Log)
	}
	inv := job.Inventory{
		System: system(o.Root), CPU: cpu(o.Root), Memory: memory(o.Root),
		Disks: Disks(o.Root), NICs: NICs(o.Root), Firmware: Firmware(o.Root), SecureBoot: secureBoot(o.Root),
	}
	for i := range inv.NICs {
		inv.NICs[i].Neighbours = heard[inv.NICs[i].Name]
	}
	return inv, ctx.Err()
}
