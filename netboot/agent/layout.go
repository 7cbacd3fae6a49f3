package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/gantry-pod/gantry/netboot/configure"
	"github.com/gantry-pod/gantry/netboot/confine"
	"github.com/gantry-pod/gantry/netboot/disk"
	"github.com/gantry-pod/gantry/netboot/inspect"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/wipe"
	"github.com/gantry-pod/gantry/netboot/write"
)

// layoutModules are the drivers that a layout may need.
var layoutModules = [...]string{"raid1", "dm_mod", "ext4", "xfs", "vfat", "nls_cp437", "nls_ascii"}

// deployLayout makes partitions and file systems, unpacks a root file system
// into them, and makes that boot.
func (d Devices) deployLayout(ctx context.Context, s *job.DeploySpec, p Phases) (*job.Result, error) {
	firmware := inspect.Firmware(os.DirFS("/"))
	if err := errors.Join(s.Layout.Validate(), disk.Bootable(s.Layout, firmware)); err != nil {
		return nil, &job.Problem{Code: "configure", Detail: "layout: " + err.Error()}
	}
	out := &job.Deployed{}
	var disks []job.Disk
	if err := p.Run(ctx, "disk", func(ctx context.Context) (msg string, err error) {
		disks, err = d.layoutDisks(ctx, s)
		return strings.Join(paths(disks), " "), err
	}); err != nil {
		return nil, err
	}
	var made *disk.Made
	if err := p.Run(ctx, "partition", func(ctx context.Context) (msg string, err error) {
		for _, m := range layoutModules {
			if err := d.Loader.Load(m); err != nil {
				d.Log.Debug("driver", "module", m, "err", err)
			}
		}
		made, err = disk.Make(ctx, paths(disks), s.Layout, d.Tools)
		return "", err
	}); err != nil {
		return nil, err
	}
	mounted, err := made.Mount(target)
	if err == nil {
		err = d.fill(ctx, s, p, made, out, firmware)
	}
	if err := errors.Join(err, unmount(mounted)); err != nil {
		return nil, err
	}
	out.Disk, out.Serial, out.Phases = disks[0].Path, disks[0].Serial, p.Times()
	return &job.Result{Deploy: out}, nil
}

// unmount detaches the last mounted first.
func unmount(ms []*disk.Mounted) (err error) {
	for i := len(ms) - 1; i >= 0; i-- {
		err = errors.Join(err, ms[i].Unmount())
	}
	return err
}

func paths(disks []job.Disk) (out []string) {
	for _, d := range disks {
		out = append(out, d.Path)
	}
	return out
}

// layoutDisks picks one disk, or two for a mirror.
func (d Devices) layoutDisks(ctx context.Context, s *job.DeploySpec) ([]job.Disk, error) {
	m, err := write.FetchManifest(ctx, d.request(s, nil))
	if err != nil {
		return nil, err
	}
	d.settle(ctx)
	found, err := disk.Candidates(inspect.Disks(os.DirFS("/")), s.Disk, s.Layout.Need(m.Size))
	if err != nil {
		return nil, err
	}
	n := 1
	if s.Layout.RAID1 {
		n = 2
	}
	if len(found) < n {
		return nil, &job.Problem{Code: "disk-not-found", Detail: fmt.Sprintf("RAID1 needs two disks; only %s fits", found[0].Path)}
	}
	found = found[:n]
	for _, f := range found {
		if err := wipe.Release(ctx, f.Path, d.Tools); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// fill puts the system into the mounted layout.
func (d Devices) fill(ctx context.Context, s *job.DeploySpec, p Phases, made *disk.Made, out *job.Deployed, firmware string) error {
	var files *disk.Files
	if err := p.Run(ctx, "write", func(ctx context.Context) (_ string, err error) {
		r, err := write.Stream(ctx, d.request(s, nil))
		if err != nil {
			return "", err
		}
		defer r.Close()
		files, err = disk.Untar(ctx, r, target, func(done int64) {
			out.Written = done
			p.Progress(r.Done(), r.Size())
		})
		out.Size, out.Fetched = r.Size(), r.Fetched()
		return fmt.Sprintf("%d bytes of files of %s %s, %d fetched", out.Written, s.Image.Name, s.Image.Version, out.Fetched), err
	}); err != nil {
		return err
	}
	if s.ReadBack {
		if err := p.Run(ctx, "readback", func(ctx context.Context) (string, error) {
			if err := disk.DropCaches(); err != nil {
				return "", err
			}
			return "", files.Verify(ctx, func(done int64) { p.Progress(done, files.Bytes) })
		}); err != nil {
			return err
		}
	}
	if err := p.Run(ctx, "configure", func(context.Context) (string, error) {
		return d.configureLayout(s.Config, made, out)
	}); err != nil {
		return err
	}
	return p.Run(ctx, "bootloader", func(ctx context.Context) (string, error) {
		return firmware, made.InstallBoot(ctx, target, firmware)
	})
}

func (d Devices) configureLayout(c job.Config, made *disk.Made, out *job.Deployed) (string, error) {
	root, err := confine.Open(target)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.MkdirAll("etc", 0o755, confine.Owner{}); err != nil {
		return "", err
	}
	if err := root.WriteFile("etc/fstab", []byte(made.Fstab()), 0o644, confine.Owner{}); err != nil {
		return "", err
	}
	if err := addMdadm(root, made.Mdadm()); err != nil {
		return "", err
	}
	r, err := configure.Apply(target, c)
	out.HostKeys = r.HostKeys
	return strings.Join(append([]string{"network by " + r.Network}, r.Notes...), "; "), err
}

// addMdadm adds the arrays to the image's mdadm.conf, Debian's place or else the
// common one.
func addMdadm(root *confine.Dir, arrays string) error {
	if arrays == "" {
		return nil
	}
	name := "etc/mdadm.conf"
	if root.Exists("etc/mdadm") {
		name = "etc/mdadm/mdadm.conf"
	}
	old, err := root.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.WriteFile(name, append(old, "\n"+arrays...), 0o644, confine.Owner{})
}
