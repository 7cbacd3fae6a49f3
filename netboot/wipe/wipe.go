// Package wipe erases disks so that nobody finds what was on them, and reads
// back to show it.
//
// A disk is erased by the best means that it offers; after each the disk is read
// past every cache, and if it does not read as zeros the next means is tried,
// down to writing zeros over all of it. So a certificate always stands for what
// was read, whatever the disk claims to have done.
package wipe

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Methods of job.WipedDisk, the best first.
const (
	Sanitize    = "nvme-sanitize"
	Format      = "nvme-format"
	SecureErase = "ata-secure-erase"
	Discard     = "discard"
	Zero        = "zero"
)

// Request says what to erase.
type Request struct {
	Disk job.Disk
	// Method is job.WipeSpec's: "best" or "zero".
	Method string
	// Quick is job.WipeSpec's.
	Quick bool
	Tools Runner
	// Progress, if set, is told bytes erased and then read back; total is twice
	// the disk's size. It may be called by several goroutines.
	Progress func(done, total int64)
	Log      *slog.Logger
}

// means is one way to erase a disk. ok is false, without an error, if the disk
// does not offer it.
type means struct {
	name  string
	erase func(d *disk, ctx context.Context) (ok bool, err error)
	// quick has only a few samples read back.
	quick bool
}

// Disk erases one disk and gives its certificate. The error is or wraps a
// *job.Problem. A cancelled ctx ends it between two writes; an erasure that the
// disk does by itself is waited for.
func Disk(ctx context.Context, r Request) (job.WipedDisk, error) {
	cert := job.WipedDisk{Path: r.Disk.Path, Model: r.Disk.Model, Serial: r.Disk.Serial, WWN: r.Disk.WWN, Bytes: r.Disk.Bytes, Began: time.Now().UTC()}
	if err := Release(ctx, r.Disk.Path, r.Tools); err != nil {
		return cert, &job.Problem{Code: "disk-io", Detail: err.Error(), Retry: true}
	}
	d, err := open(r)
	if err != nil {
		return cert, &job.Problem{Code: "disk-io", Detail: err.Error(), Retry: true}
	}
	defer d.Close()
	chosen, err := ways(r)
	if err != nil {
		return cert, err
	}
	for _, m := range chosen {
		verified, err := d.try(ctx, m)
		if ctx.Err() != nil {
			return cert, ctx.Err()
		}
		if err != nil {
			r.Log.Warn("this way of erasing did not do", "disk", r.Disk.Path, "method", m.name, "err", err)
			continue
		}
		if verified != "" {
			cert.Method, cert.Verified, cert.Ended = m.name, verified, time.Now().UTC()
			return cert, d.forget()
		}
	}
	return cert, &job.Problem{Code: "wipe-unverified", Detail: fmt.Sprintf("disk %s (serial %q) does not read as zeros after all that it offers; it must not be used or handed on", r.Disk.Path, r.Disk.Serial)}
}

// ways are what to try, in order.
func ways(r Request) ([]means, error) {
	zero := means{name: Zero, erase: (*disk).zero}
	switch r.Method {
	case "zero":
		return []means{zero}, nil
	case "best":
	default:
		return nil, fmt.Errorf("wipe method %q is neither best nor zero", r.Method)
	}
	var out []means
	if r.Quick && r.Disk.Discard {
		out = append(out, means{name: Discard, erase: (*disk).discard, quick: true})
	}
	switch r.Disk.Transport {
	case "nvme":
		out = append(out, means{name: Sanitize, erase: (*disk).sanitize}, means{name: Format, erase: (*disk).format})
	case "ata":
		out = append(out, means{name: SecureErase, erase: (*disk).secureErase})
	}
	if r.Disk.Discard {
		out = append(out, means{name: Discard, erase: (*disk).discard})
	}
	return append(out, zero), nil
}

// try erases by one means and reads back. verified is "full" or "sample", or ""
// if the disk has no such means.
func (d *disk) try(ctx context.Context, m means) (verified string, err error) {
	d.log.Info("erasing", "disk", d.path, "method", m.name)
	ok, err := m.erase(d, ctx)
	if err != nil || !ok {
		return "", err
	}
	if err := d.flush(); err != nil {
		return "", err
	}
	d.progress(d.size)
	return d.verify(ctx, m.quick)
}
