package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/configure"
	"github.com/gantry-pod/gantry/netboot/disk"
	"github.com/gantry-pod/gantry/netboot/inspect"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/wipe"
	"github.com/gantry-pod/gantry/netboot/write"
)

// target is where a written system's root gets mounted.
const target = "/mnt/target"

// deploy turns an empty machine into a configured one.
func (d Devices) deploy(ctx context.Context, j *job.Job, p Phases) (*job.Result, error) {
	if j.Deploy == nil {
		return nil, fmt.Errorf("the job has no deploy part")
	}
	if err := configure.Validate(j.Deploy.Config); err != nil {
		return nil, &job.Problem{Code: "configure", Detail: err.Error()}
	}
	d.networkFirst()
	_ = unix.Unmount(target, unix.MNT_DETACH) // left by a job that was cancelled
	if j.Deploy.Layout != nil {
		return d.deployLayout(ctx, j.Deploy, p)
	}
	return d.deployImage(ctx, j.Deploy, p)
}

// deployImage writes a whole-disk image, grows it and configures it.
func (d Devices) deployImage(ctx context.Context, s *job.DeploySpec, p Phases) (*job.Result, error) {
	out := &job.Deployed{}
	var chosen job.Disk
	if err := p.Run(ctx, "disk", func(ctx context.Context) (msg string, err error) {
		chosen, err = d.chooseDisk(ctx, s)
		return chosen.Path, err
	}); err != nil {
		return nil, err
	}
	if err := p.Run(ctx, "write", func(ctx context.Context) (string, error) {
		go d.fileSystems() // needed next; the loader lets later callers wait
		req := d.request(s, p)
		req.Target, req.Block = chosen.Path, true
		st, err := write.Write(ctx, req)
		out.Written, out.Fetched, out.Size = st.Written, st.Fetched, st.Size
		return fmt.Sprintf("%d bytes of %s %s, %d fetched, %d retries", st.Size, s.Image.Name, s.Image.Version, st.Fetched, st.Retries), err
	}); err != nil {
		return nil, err
	}
	var root *disk.Mounted
	if err := p.Run(ctx, "grow", func(ctx context.Context) (msg string, err error) {
		root, msg, err = d.grow(ctx, chosen.Path)
		return msg, err
	}); err != nil {
		return nil, err
	}
	err := p.Run(ctx, "configure", func(context.Context) (string, error) { return d.configure(root, s.Config, out) })
	if err != nil {
		_ = root.Unmount()
		return nil, err
	}
	out.Disk, out.Serial, out.Phases = chosen.Path, chosen.Serial, p.Times()
	return &job.Result{Deploy: out}, nil
}

// httpClient has no overall timeout: write notices a stalled transfer itself.
func httpClient() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16, DisableCompression: true,
		ResponseHeaderTimeout: callTimeout, ReadBufferSize: 64 << 10,
	}}
}

func (d Devices) request(s *job.DeploySpec, p Phases) write.Request {
	return write.Request{
		Client: httpClient(), Image: s.Image, ReadBack: s.ReadBack, RateLimit: s.RateLimit, Log: d.Log,
		Progress: func(w write.Progress) { p.Progress(w.Done, w.Total) },
	}
}

// diskWait is how long a disk that is asked for may take to appear.
const diskWait = 20 * time.Second

// chooseDisk picks the disk for the image and frees it from what may hold it. A
// disk that would do may still be spinning up, so it looks again for a while.
func (d Devices) chooseDisk(ctx context.Context, s *job.DeploySpec) (job.Disk, error) {
	settled := make(chan struct{})
	go func() { defer close(settled); d.settle(ctx) }()
	m, sector, err := d.ask(ctx, s)
	<-settled
	if err != nil {
		return job.Disk{}, err
	}
	if err := fitsFirmware(m.Meta.Firmware); err != nil {
		return job.Disk{}, err
	}
	limit := time.Now().Add(diskWait)
	for {
		disks := inspect.Disks(os.DirFS("/"))
		chosen, err := disk.ChooseFor(disks, s.Disk, m.Size, sector)
		if err == nil {
			return chosen, wipe.Release(ctx, chosen.Path, d.Tools)
		}
		if len(disks) > 0 && s.Disk == (job.DiskHint{}) || time.Now().After(limit) {
			return job.Disk{}, err
		}
		select {
		case <-ctx.Done():
			return job.Disk{}, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ask fetches what tells the disk that the image needs: its manifest, and the
// size of its sectors.
func (d Devices) ask(ctx context.Context, s *job.DeploySpec) (*format.Manifest, int, error) {
	m, err := write.FetchManifest(ctx, d.request(s, nil))
	if err != nil {
		return nil, 0, err
	}
	head, err := write.Head(ctx, d.request(s, nil), m, format.HeadBytes)
	return m, format.SectorSize(head), err
}

// fitsFirmware refuses a disk image that this machine's firmware cannot start.
func fitsFirmware(image string) error {
	mine := inspect.Firmware(os.DirFS("/"))
	if image == "" || image == "both" || image == mine {
		return nil
	}
	return &job.Problem{Code: "image-firmware", Detail: fmt.Sprintf("the image starts by %s, this machine by %s", image, mine)}
}

// grow gives the written system the room of its disk, and leaves its root
// mounted.
func (d Devices) grow(ctx context.Context, path string) (*disk.Mounted, string, error) {
	d.fileSystems()
	grew, err := disk.GrowTable(ctx, path)
	if err != nil {
		return nil, "", err
	}
	root, err := disk.FindRoot(path, target, configure.IsRoot)
	if err != nil {
		return nil, "", err
	}
	if err := root.Grow(); err != nil {
		_ = root.Unmount()
		return nil, "", err
	}
	return root, fmt.Sprintf("%s (%s), %d bytes more", root.Device, root.FS, grew), nil
}

// fileSystems loads drivers before the kernel would ask for them one by one.
func (d Devices) fileSystems() {
	for _, m := range []string{"crc32c_intel", "ext4"} {
		if err := d.Loader.Load(m); err != nil {
			d.Log.Debug("file system driver", "module", m, "err", err)
		}
	}
}

// configure makes the mounted system this server, and detaches it.
func (d Devices) configure(root *disk.Mounted, c job.Config, out *job.Deployed) (string, error) {
	r, err := configure.Apply(root.Dir, c)
	if err != nil {
		return "", err
	}
	out.HostKeys = r.HostKeys
	if err := root.Unmount(); err != nil {
		return "", &job.Problem{Code: "configure", Detail: err.Error(), Retry: true}
	}
	return strings.Join(append([]string{"network by " + r.Network}, r.Notes...), "; "), nil
}
