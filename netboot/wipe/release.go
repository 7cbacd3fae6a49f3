package wipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Runner runs one of the initramfs' tools.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (string, error)
}

// Release frees a disk from what an old system on it may have started by itself:
// mounts, swap, LVM volumes and md arrays, in that order, for the disk and its
// partitions. Nothing on the disk is changed.
func Release(ctx context.Context, disk string, tools Runner) error {
	names, err := withPartitions("/sys", path.Base(disk))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := releaseOne(ctx, "/sys", n, tools); err != nil {
			return fmt.Errorf("free %s: %w", disk, err)
		}
	}
	return nil
}

// withPartitions are the kernel's names of a disk and its partitions.
func withPartitions(sys, disk string) ([]string, error) {
	es, err := os.ReadDir(path.Join(sys, "block", disk))
	if err != nil {
		return nil, err
	}
	out := []string{disk}
	for _, e := range es {
		if strings.HasPrefix(e.Name(), disk) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// releaseOne stops what is stacked on a device, the uppermost first.
func releaseOne(ctx context.Context, sys, name string, tools Runner) error {
	holders, err := os.ReadDir(path.Join(sys, "class/block", name, "holders"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, h := range holders {
		parts, err := withPartitions(sys, h.Name())
		if err != nil {
			continue // it went with another
		}
		for _, p := range parts {
			if err := releaseOne(ctx, sys, p, tools); err != nil {
				return err
			}
		}
		if err := stop(ctx, sys, h.Name(), tools); err != nil {
			return err
		}
	}
	return detach("/dev/" + name)
}

// stop stops one stacked device: an md array, or a device-mapper volume.
func stop(ctx context.Context, sys, name string, tools Runner) error {
	if strings.HasPrefix(name, "md") {
		_, err := tools.Run(ctx, "mdadm", "--stop", "/dev/"+name)
		return err
	}
	dm, err := os.ReadFile(path.Join(sys, "block", name, "dm/name"))
	if err != nil {
		return fmt.Errorf("%s holds it and is neither md nor device-mapper: %w", name, err)
	}
	return removeMapping(strings.TrimSpace(string(dm)))
}

// detach unmounts a device wherever it is mounted and stops swapping to it.
func detach(dev string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for _, l := range strings.Split(string(mounts), "\n") {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != dev {
			continue
		}
		if err := unix.Unmount(f[1], 0); err != nil {
			return fmt.Errorf("unmount %s: %w", f[1], err)
		}
	}
	swaps, _ := os.ReadFile("/proc/swaps")
	if !strings.Contains("\n"+string(swaps), "\n"+dev+" ") {
		return nil
	}
	p, err := unix.BytePtrFromString(dev)
	if err != nil {
		return err
	}
	return swapoff(p)
}
