package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gantry-pod/gantry/lab/machine"
	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/wire"
)

// Up brings a lab up: all outlets off, the appliance started if there is one.
// ctx bounds bringing it up, not its life, which ends with [Lab.Close]. What an
// earlier lab of that name left when it was killed is removed first. It returns
// [ErrHeld] if the lab is up already, and leaves nothing behind on an error but
// the state directory.
func Up(ctx context.Context, cfg Config) (_ *Lab, err error) {
	cfg = cfg.WithDefaults()
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("lab %s: %w", cfg.Name, err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	held, err := claimName(cfg.Name)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lab{asked: cfg, cfg: cfg, claim: held, cancel: cancel, began: time.Now()}
	l.cfg.Log = cfg.Log.With("lab", cfg.Name)
	if err := l.bringUp(ctx, life); err != nil {
		err = fmt.Errorf("lab %s: %w", cfg.Name, err)
		return nil, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// bringUp makes everything, in order. What it has made when it fails is closed
// by [Lab.Close].
func (l *Lab) bringUp(ctx, life context.Context) (err error) {
	if _, err := l.claim.sweep(ctx); err != nil {
		return err
	}
	if err := MakeState(l.cfg.StateDir); err != nil {
		return err
	}
	if l.secrets, err = loadSecrets(l.path("secrets.json")); err != nil {
		return err
	}
	if l.cfg.Accel == "" && l.cfg.StandIn == nil {
		if l.cfg.Accel, err = machine.ProbeAccel(ctx); err != nil {
			return err
		}
	}
	listeners, err := l.listenAll(ctx)
	if err != nil {
		return err
	}
	// The record comes before what it records.
	if err := errors.Join(l.claim.begin(l.cfg.StateDir), l.build(ctx)); err != nil {
		return errors.Join(err, closeListeners(listeners))
	}
	for i, listener := range listeners {
		f := &forwarder{Forward: l.cfg.Forwards[i], listener: listener, log: l.cfg.Log}
		f.dial = l.target(f.Forward)
		l.life.Go(func() { f.serve(life) })
	}
	if err := l.plugIn(life); err != nil {
		return err
	}
	if err := l.writeFiles(); err != nil {
		return err
	}
	if l.cfg.Appliance == "" {
		return l.wire.AddressApp()
	}
	l.appliance = newAppliance(l)
	return l.appliance.start()
}

// build makes the network and the machines, all without power.
func (l *Lab) build(ctx context.Context) (err error) {
	if l.wire, err = wire.Build(ctx, l.cfg.Name); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%w, and no lab made it: `ip netns del` it, or choose another name", err)
		}
		return err
	}
	if l.neighbours, err = l.wire.Neighbours(wire.Prov); err != nil {
		return err
	}
	if l.cfg.StandIn != nil {
		return nil
	}
	for _, spec := range l.cfg.Machines {
		for _, nic := range spec.NICs {
			if err := l.wire.AddTap(nic.Tap, wire.Prov); err != nil {
				return err
			}
		}
		m, err := machine.New(spec, machine.Config{
			Dir: l.path("machines", spec.Name), SocketDir: RunDir(l.cfg.Name),
			Accel: l.cfg.Accel, Host: host{l}, Log: l.cfg.Log,
		})
		if err != nil {
			return err
		}
		l.machines = append(l.machines, m)
	}
	return nil
}

// plugIn starts the machines, waiting for power, and the PDU.
func (l *Lab) plugIn(life context.Context) (err error) {
	l.pdu, err = labpdu.New(labpdu.Config{
		Outlets: l.cfg.Outlets, Names: l.outletNames(),
		ReadCommunity: l.secrets.ReadCommunity, WriteCommunity: l.secrets.WriteCommunity,
		OnDelay: l.cfg.PDUDelay, OffDelay: l.cfg.PDUDelay,
		Trace: l.cfg.PDUTrace,
	}, board{l}, l.cfg.Log)
	if err != nil {
		return err
	}
	conn, err := l.wire.L2.ListenPacket(life, "udp", pduEndpoint())
	if err != nil {
		return err
	}
	for _, m := range l.machines {
		l.life.Go(func() { m.Run(life) })
	}
	l.life.Go(func() {
		if err := l.pdu.Serve(life, conn); err != nil {
			l.cfg.Log.Error("the PDU has stopped", "error", err)
		}
	})
	return nil
}

// outletNames names each outlet after the machine that it feeds.
func (l *Lab) outletNames() []string {
	names := make([]string, l.cfg.Outlets)
	for i := range names {
		names[i] = fmt.Sprintf("Outlet %d", i+1)
	}
	for _, m := range l.cfg.Machines {
		for _, n := range m.Outlets {
			names[n-1] = m.Name
		}
	}
	return names
}

// Close takes the lab down: the appliance first, which may finish what it is
// at, then everything else at once. The state directory stays, see
// [RemoveState]. It is called once.
func (l *Lab) Close(ctx context.Context) error {
	var errs []error
	if l.appliance != nil {
		errs = append(errs, l.appliance.stop(ctx))
	}
	l.cancel()
	l.life.Wait()
	if l.neighbours != nil {
		l.neighbours.Close()
	}
	if l.wire != nil {
		errs = append(errs, l.wire.Close(ctx))
	}
	errs = append(errs, os.RemoveAll(RunDir(l.cfg.Name)), l.claim.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab %s: close: %w", l.cfg.Name, err)
	}
	return nil
}

// listenAll takes all host ports before anything is made, so that a port in use
// costs nothing.
func (l *Lab) listenAll(ctx context.Context) (all []net.Listener, err error) {
	for _, f := range l.cfg.Forwards {
		listener, err := f.listen(ctx)
		if err != nil {
			return nil, errors.Join(err, closeListeners(all))
		}
		all = append(all, listener)
	}
	return all, nil
}

func closeListeners(all []net.Listener) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
