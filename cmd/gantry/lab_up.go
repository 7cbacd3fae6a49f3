package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/lab"
	labclient "github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/control"
	"github.com/gantry-pod/gantry/lab/machine"
)

// labUpFlags are the flags of `gantry lab up`.
type labUpFlags struct {
	stateDir  string
	config    string
	machines  int
	firmware  string
	cpus      int
	memoryMiB int
	diskGiB   int64
	appliance string
	drivers   string
	netboot   string
	sshPort   int
	apiPort   int
}

func newLabUpCmd(a *labApp) *cobra.Command {
	f := labUpFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a lab up, all outlets off",
		Long: "Bring a lab up, all outlets off. It runs in the background until `gantry lab down`.\n" +
			"If it is up already with the same configuration, nothing happens.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.stateDir, "state", "", "directory for disks, logs and the appliance's files (default build/lab/NAME)")
	flags.StringVar(&f.config, "config", "", "YAML file with the whole lab, instead of the flags below")
	flags.IntVar(&f.machines, "machines", 1, "number of machines")
	flags.StringVar(&f.firmware, "firmware", "mixed", "firmware of the machines: bios, uefi or mixed")
	flags.IntVar(&f.cpus, "cpus", 0, "processors of each machine (default 2)")
	flags.IntVar(&f.memoryMiB, "memory", 0, "memory of each machine in MiB (default 1024)")
	flags.Int64Var(&f.diskGiB, "disk", 0, "disk of each machine in GiB (default 4)")
	flags.StringVar(&f.appliance, "appliance", "", "the appliance's program to run in the pod")
	flags.StringVar(&f.drivers, "drivers", "", "directory of the driver binaries (default the appliance's)")
	flags.StringVar(&f.netboot, "netboot", "", "directory of the netboot kernel and initramfs (default ../netboot beside the appliance's)")
	flags.IntVar(&f.sshPort, "ssh-port", 2201, "port on 127.0.0.1 that leads to the first machine's port 22, the next ones follow; 0 for none")
	flags.IntVar(&f.apiPort, "api-port", 7480, "port on 127.0.0.1 that leads to the appliance's API; 0 for none")
	return cmd
}

// up brings the lab up, or finds it up as it is wanted.
func (a *labApp) up(ctx context.Context, f labUpFlags) error {
	ctx, cancel := context.WithTimeout(ctx, upPatience)
	defer cancel()
	cfg, err := f.labConfig(a.name)
	if err != nil {
		return withCode(exitUsage, err)
	}
	status, err := control.NewClient(cfg.Name).Status(ctx)
	if errors.Is(err, control.ErrDown) {
		if err := startSupervisor(ctx, cfg); err != nil {
			return labError(err)
		}
		status, err = control.NewClient(cfg.Name).Status(ctx)
		if err != nil {
			return labError(err)
		}
		a.awaitAppliance(ctx, status)
	} else if err != nil {
		return labError(err)
	} else if asked, err := lab.AskedConfig(status.StateDir); err != nil || !reflect.DeepEqual(asked, cfg) {
		return withCode(exitRefused, errors.Join(
			fmt.Errorf("lab %s is up with another configuration; take it down first: gantry lab down --name %[1]s", cfg.Name), err))
	}
	return a.printStatus(status)
}

// applianceWithin is how long an appliance may take to answer.
const applianceWithin = 10 * time.Second

// awaitAppliance waits until the lab's appliance answers, so that the next command
// finds it. A lab whose appliance fails is up all the same, to be looked at.
func (a *labApp) awaitAppliance(ctx context.Context, s lab.Status) {
	if s.Appliance == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, applianceWithin)
	defer cancel()
	if err := labclient.New(s.Appliance.Socket).Ready(ctx); err != nil {
		fmt.Fprintf(a.err, "gantry: the appliance does not answer yet (%v); see %s\n", err, s.Appliance.Log)
	}
}

// labConfig is the lab that the flags ask for, complete and valid.
func (f labUpFlags) labConfig(name string) (cfg lab.Config, err error) {
	if f.config != "" {
		file, err := os.Open(f.config)
		if err != nil {
			return cfg, err
		}
		defer file.Close()
		if cfg, err = lab.DecodeConfig(file); err != nil {
			return cfg, fmt.Errorf("%s: %w", f.config, err)
		}
	} else if cfg.Machines, err = f.specs(); err != nil {
		return cfg, err
	}
	if cfg.Name == "" {
		cfg.Name = name
	}
	if cfg.StateDir == "" {
		cfg.StateDir = f.stateDir
	}
	if cfg.StateDir == "" {
		cfg.StateDir = defaultStateDir(cfg.Name)
	}
	if cfg.Appliance == "" {
		cfg.Appliance = f.appliance
	}
	if cfg.Drivers == "" {
		cfg.Drivers = f.drivers
	}
	if cfg.Netboot == "" {
		cfg.Netboot = f.netboot
	}
	for _, path := range []*string{&cfg.StateDir, &cfg.Appliance, &cfg.Drivers, &cfg.Netboot} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return cfg, err
			}
		}
	}
	cfg = cfg.WithDefaults()
	cfg.Log = nil
	if len(cfg.Forwards) == 0 {
		cfg.Forwards = f.forwards(cfg)
	}
	return cfg, cfg.Validate()
}

// specs are the machines that the flags ask for.
func (f labUpFlags) specs() ([]machine.Spec, error) {
	specs, err := lab.Machines(f.machines, f.firmware)
	for i := range specs {
		specs[i].CPUs, specs[i].MemoryMiB = f.cpus, f.memoryMiB
		specs[i].Disks = []machine.Disk{{Bytes: f.diskGiB << 30}}
	}
	return specs, err
}

// forwards are the ports of this computer that lead into the lab.
func (f labUpFlags) forwards(cfg lab.Config) (all []lab.Forward) {
	if f.sshPort != 0 {
		for i, m := range cfg.Machines {
			all = append(all, lab.Forward{Listen: fmt.Sprintf("127.0.0.1:%d", f.sshPort+i), To: "machine:" + m.Name + ":22"})
		}
	}
	if f.apiPort != 0 && cfg.Appliance != "" {
		all = append(all, lab.Forward{Listen: fmt.Sprintf("127.0.0.1:%d", f.apiPort), To: "appliance"})
	}
	return all
}

// upPatience bounds how long a lab may take to come up.
const upPatience = 2 * time.Minute

// readyFD is where a supervisor says that the lab is up, or why not.
const readyFD = 3

// readyWord is what it says when all is well.
const readyWord = "ready"

// startSupervisor starts `gantry lab serve` in a session of its own and returns
// when the lab is up.
func startSupervisor(ctx context.Context, cfg lab.Config) error {
	if err := lab.MakeState(cfg.StateDir); err != nil {
		return err
	}
	config, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("lab configuration: %w", err)
	}
	logPath := filepath.Join(cfg.StateDir, "supervisor.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command("/proc/self/exe", "lab", "serve")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(config), log, log
	cmd.ExtraFiles = []*os.File{readyFD - 3: readyEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	readyEnd.Close()
	if err != nil {
		return fmt.Errorf("start the lab's supervisor: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	said, err := io.ReadAll(ready)
	if err == nil && string(said) == readyWord {
		return cmd.Process.Release()
	}
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(said) > 0 {
		return errors.New(string(said))
	}
	return fmt.Errorf("the lab's supervisor ended: %w; see %s", errors.Join(waitErr, err), logPath)
}

func newLabDownCmd(a *labApp) *cobra.Command {
	var keep bool
	var stateDir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take a lab down and remove all that it made",
		Long: "Take a lab down and remove all that it made: processes, namespaces, taps, sockets\n" +
			"and files. It cleans up after a lab that was killed, too.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context(), stateDir, keep) },
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep disks, logs and the appliance's files")
	cmd.Flags().StringVar(&stateDir, "state", "", "directory of a lab that is down, to remove (default build/lab/NAME)")
	return cmd
}

// downPatience bounds how long a lab may take to go down.
const downPatience = 60 * time.Second

func (a *labApp) down(ctx context.Context, stateDir string, keep bool) error {
	ctx, cancel := context.WithTimeout(ctx, downPatience)
	defer cancel()
	recorded, err := lab.StateDirOf(a.name)
	if err == nil {
		stateDir = recorded
	} else if stateDir == "" {
		stateDir = defaultStateDir(a.name)
	}
	if err := a.client().Down(ctx); err != nil && !errors.Is(err, control.ErrDown) {
		return labError(err)
	}
	if err := a.sweep(ctx); err != nil {
		return labError(err)
	}
	if keep {
		fmt.Fprintf(a.err, "lab %s is down; its files stay in %s\n", a.name, stateDir)
	} else {
		if err := lab.RemoveState(stateDir); err != nil {
			return err
		}
		fmt.Fprintf(a.err, "lab %s is down\n", a.name)
	}
	if a.output == "table" {
		return nil
	}
	return a.did("down", "lab", a.name)
}

// sweep waits until nobody holds the lab, and removes what is left of it.
func (a *labApp) sweep(ctx context.Context) error {
	const interval = 50 * time.Millisecond
	for {
		err := lab.Sweep(ctx, a.name, true)
		if !errors.Is(err, lab.ErrHeld) {
			return err
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return fmt.Errorf("%w, and its process does not let go within %v", err, downPatience)
		}
	}
}
