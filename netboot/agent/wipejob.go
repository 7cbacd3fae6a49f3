package agent

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-pod/gantry/netboot/inspect"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/wipe"
)

// wipesAtOnce bounds the memory that wiping takes: 16 MiB a disk.
const wipesAtOnce = 16

// wipe erases the disks that are asked for, side by side as each has a bandwidth
// of its own, and gives a certificate for each. It fails as soon as one cannot be
// shown to be empty.
func (d Devices) wipe(ctx context.Context, j *job.Job, p Phases) (*job.Result, error) {
	if j.Wipe == nil {
		return nil, fmt.Errorf("the job has no wipe part")
	}
	res := &job.Result{}
	err := p.Run(ctx, "wipe", func(ctx context.Context) (string, error) {
		d.settle(ctx)
		disks, err := wipeDisks(inspect.Disks(os.DirFS("/")), j.Wipe.Disks)
		if err != nil {
			return "", err
		}
		certs := make([]job.WipedDisk, len(disks))
		err = sideBySide(ctx, disks, p.Progress, func(ctx context.Context, i int, progress func(done, total int64)) (err error) {
			certs[i], err = wipe.Disk(ctx, wipe.Request{Disk: disks[i], Method: j.Wipe.Method, Quick: j.Wipe.Quick, Tools: d.Tools, Log: d.Log, Progress: progress})
			return err
		})
		if err != nil {
			return "", err
		}
		res.Wiped = certs
		return fmt.Sprintf("%d disks read as zeros", len(res.Wiped)), nil
	})
	return res, err
}

// sideBySide erases each disk and tells the progress of all together, which is
// of twice their size: they are read back. The first failure ends the others.
func sideBySide(ctx context.Context, disks []job.Disk, tell func(done, total int64),
	erase func(ctx context.Context, i int, progress func(done, total int64)) error) error {
	var total int64
	for _, k := range disks {
		total += 2 * k.Bytes
	}
	var mu sync.Mutex // guards done and sum
	done, sum := make([]int64, len(disks)), int64(0)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(wipesAtOnce)
	for i := range disks {
		g.Go(func() error {
			return erase(ctx, i, func(n, _ int64) {
				mu.Lock()
				defer mu.Unlock()
				sum += n - done[i]
				done[i] = n
				tell(sum, total)
			})
		})
	}
	return g.Wait()
}

// wipeDisks are the disks that the hints name, each once, or all that are not
// removable. A hint that names none is an error: a disk that should have been
// erased may not be passed over.
func wipeDisks(all []job.Disk, hints []job.DiskHint) ([]job.Disk, error) {
	if len(hints) == 0 {
		hints = []job.DiskHint{{}}
	}
	var out []job.Disk
	seen := map[string]bool{}
	for _, h := range hints {
		found := false
		for _, d := range all {
			if !h.Matches(d) || d.Bytes < h.MinBytes {
				continue
			}
			found = true
			if !seen[d.Path] {
				seen[d.Path] = true
				out = append(out, d)
			}
		}
		if !found {
			return nil, &job.Problem{Code: "disk-not-found", Detail: fmt.Sprintf("no disk fits %+v", h)}
		}
	}
	return out, nil
}
