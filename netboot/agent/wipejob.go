package agent

import (
	"context"
	"fmt"
	"os"

	"github.com/gantry-pod/gantry/netboot/disk"
	"github.com/gantry-pod/gantry/netboot/inspect"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/wipe"
)

// wipe erases the disks that are asked for, one after the other, and gives a
// certificate for each. It fails as soon as one cannot be shown to be empty.
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
		var before, total int64
		for _, k := range disks {
			total += 2 * k.Bytes
		}
		for _, k := range disks {
			cert, err := wipe.Disk(ctx, wipe.Request{Disk: k, Method: j.Wipe.Method, Tools: d.Tools, Log: d.Log,
				Progress: func(done, _ int64) { p.Progress(before+done, total) }})
			if err != nil {
				return "", err
			}
			before += 2 * k.Bytes
			res.Wiped = append(res.Wiped, cert)
		}
		return fmt.Sprintf("%d disks read as zeros", len(res.Wiped)), nil
	})
	return res, err
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
			if !disk.Matches(d, h) || d.Bytes < h.MinBytes {
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
