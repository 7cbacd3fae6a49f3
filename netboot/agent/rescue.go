package agent

import (
	"context"
	"fmt"
	"net"

	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/rescue"
)

// rescue starts an SSH server that outlives the job, until the machine restarts.
func (d Devices) rescue(ctx context.Context, j *job.Job, p Phases) (*job.Result, error) {
	if j.Rescue == nil {
		return nil, fmt.Errorf("the job has no rescue part")
	}
	ready := &job.RescueReady{}
	err := p.Run(ctx, "rescue", func(ctx context.Context) (string, error) {
		d.settle(ctx)
		d.mountable()
		if err := d.Tools.Unpack(); err != nil {
			return "", err
		}
		s, err := rescue.New(j.Rescue.SSHKeys, "/bin/sh", d.Log)
		if err != nil {
			return "", err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(d.Address.String(), "22"))
		if err != nil {
			return "", err
		}
		go s.Serve(l)
		ready.Address, ready.HostKeys = l.Addr().String(), []string{s.HostKey()}
		return ready.Address, nil
	})
	return &job.Result{Rescue: ready}, err
}

// mountable loads the file systems that servers have: the rescue system's mount
// tries those that the kernel has, and asks for none by itself.
func (d Devices) mountable() {
	d.fileSystems()
	for _, m := range []string{"xfs", "vfat"} {
		if err := d.Loader.Load(m); err != nil {
			d.Log.Warn("file system driver", "module", m, "err", err)
		}
	}
}
