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
