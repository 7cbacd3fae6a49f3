package agent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/gantry-pod/gantry/netboot/inspect"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/modules"
)

// Devices runs jobs on this machine's devices.
type Devices struct {
	Plug   *modules.Hotplug
	Loader *modules.Loader
	Log    *slog.Logger
	// Address is this machine's on the provisioning network.
	Address net.IP
	// Tools of the initramfs.
	Tools *Tools
}

// Runners are the jobs that this machine can do.
func (d Devices) Runners() map[job.Kind]Runner {
	return map[job.Kind]Runner{
		job.Inspect:  d.inspect,
		job.Deploy:   d.deploy,
		job.Wipe:     d.wipe,
		job.Rescue:   d.rescue,
		job.Reboot:   farewell("reboot"),
		job.PowerOff: farewell("poweroff"),
	}
}

// farewell is a job whose work begins when its report was acknowledged.
func farewell(phase string) Runner {
	return func(ctx context.Context, _ *job.Job, p Phases) (*job.Result, error) {
		return &job.Result{}, p.Run(ctx, phase, func(context.Context) (string, error) { return "", nil })
	}
}

// Bounds on devices that appear late, such as disks behind a host bus adapter
// that scans.
const (
	settleQuiet = 300 * time.Millisecond
	settleLimit = 60 * time.Second
)

// settle waits for the devices. That some still appear is no failure: the job
// goes on with those that are there.
func (d Devices) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := d.Plug.Settle(ctx, settleQuiet); err != nil {
		d.Log.Warn("going on without waiting longer", "err", err)
	}
}

func (d Devices) inspect(ctx context.Context, j *job.Job, p Phases) (*job.Result, error) {
	var inv job.Inventory
	err := p.Run(ctx, "inspect", func(ctx context.Context) (string, error) {
		d.settle(ctx)
		d.efiVariables()
		var wait time.Duration
		if j.Inspect != nil {
			wait = time.Duration(j.Inspect.LLDPWait)
		}
		var err error
		inv, err = inspect.Collect(ctx, inspect.Options{Root: os.DirFS("/"), LLDPWait: wait, Log: d.Log})
		return "", err
	})
	return &job.Result{Inventory: &inv}, err
}
