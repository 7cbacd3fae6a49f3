package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
)

// FaultKind is a way for the pod to be broken.
type FaultKind string

// The faults. Target is a machine's name, or an outlet's number.
const (
	// LossyWire loses Value (such as "5%") of the frames of a machine's NICs,
	// each way.
	LossyWire FaultKind = "lossy-wire"
	// SlowDisk holds a machine's disks to Value (such as "5MB/s").
	SlowDisk FaultKind = "slow-disk"
	// HungFirmware makes a machine hang from its next power-on on.
	HungFirmware FaultKind = "hung-firmware"
	// DeadOutlet makes an outlet accept commands and never move.
	DeadOutlet FaultKind = "dead-outlet"
	// UnknownOutlet makes an outlet read as neither on nor off.
	UnknownOutlet FaultKind = "unknown-outlet"
)

// FaultKinds lists all faults.
func FaultKinds() []FaultKind {
	return []FaultKind{LossyWire, SlowDisk, HungFirmware, DeadOutlet, UnknownOutlet}
}

// Fault is one thing that is broken.
type Fault struct {
	Kind   FaultKind `json:"kind"`
	Target string    `json:"target"`
	// Value is the fault's strength, for those that have one.
	Value string `json:"value,omitempty"`
}

// ErrBadFault is returned for a fault that makes no sense.
var ErrBadFault = errors.New("bad fault")

// Break brings a fault into force; one of the same kind on the same target is
// replaced.
func (l *Lab) Break(ctx context.Context, f Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.set(ctx, f); err != nil {
		return err
	}
	l.faults = slices.DeleteFunc(l.faults, func(old Fault) bool {
		return old.Kind == f.Kind && old.Target == f.Target
	})
	l.faults = append(l.faults, f)
	l.cfg.Log.Info("fault in force", "kind", f.Kind, "target", f.Target, "value", f.Value)
	return nil
}

// Mend ends all faults. A machine that hangs stays so until its power is cut.
func (l *Lab) Mend(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	l.faults = slices.DeleteFunc(l.faults, func(f Fault) bool {
		f.Value = healed
		err := l.set(ctx, f)
		errs = append(errs, err)
		return err == nil
	})
	return errors.Join(errs...)
}

// Faults returns what is broken.
func (l *Lab) Faults() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.faults)
}

// healed is the value that ends a fault.
const healed = "0"

// set brings a fault into force, or ends it if its value is healed.
func (l *Lab) set(ctx context.Context, f Fault) error {
	switch f.Kind {
	case DeadOutlet:
		return l.failOutlet(f, labpdu.Dead)
	case UnknownOutlet:
		return l.failOutlet(f, labpdu.Unreadable)
	}
	m, err := l.machineNamed(f.Target)
	if err != nil {
		return err
	}
	switch f.Kind {
	case HungFirmware:
		m.SetHang(f.Value != healed)
		return nil
	case SlowDisk:
		speed, err := ParseSpeed(f.Value)
		if err != nil {
			return err
		}
		return m.SetDiskSpeed(ctx, speed)
	case LossyWire:
		share, err := ParseShare(f.Value)
		if err != nil {
			return err
		}
		var errs []error
		for _, nic := range m.Spec().NICs {
			errs = append(errs, l.wire.SetLoss(ctx, nic.Tap, share))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("%w: kind %q: want one of %v", ErrBadFault, f.Kind, FaultKinds())
}

// failOutlet breaks or mends an outlet. An outlet has one fault at a time: the
// last one set is in force.
func (l *Lab) failOutlet(f Fault, fault labpdu.OutletFault) error {
	n, err := strconv.Atoi(f.Target)
	if err != nil {
		return fmt.Errorf("%w: outlet %q: want a number", ErrBadFault, f.Target)
	}
	if n < 1 || n > l.cfg.Outlets {
		return fmt.Errorf("outlet %d: %w", n, ErrNotFound)
	}
	if f.Value == healed {
		fault = labpdu.Healthy
	}
	l.pdu.Fail(n, fault)
	return nil
}

// SetPlugged pulls a machine's network cables, or puts them back.
func (l *Lab) SetPlugged(ctx context.Context, name string, plugged bool) error {
	m, err := l.machineNamed(name)
	if err != nil {
		return err
	}
	errs := []error{m.SetUnplugged(ctx, !plugged)}
	for _, nic := range m.Spec().NICs {
		errs = append(errs, l.wire.SetPlugged(nic.Tap, plugged))
	}
	return errors.Join(errs...)
}

// ParseShare reads a share such as "5%", "0.5%" or "0", as a fraction.
func ParseShare(s string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("%w: share %q: want 0%% to 100%%", ErrBadFault, s)
	}
	return percent / 100, nil
}

// speedForm is a number and a unit; "0" needs none.
var speedForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kMG]?B/s)$`)

// ParseSpeed reads a speed such as "5MB/s", "800kB/s", "1GB/s" or "0", in bytes
// a second; the units are powers of 1,000.
func ParseSpeed(s string) (int64, error) {
	if s == healed {
		return 0, nil
	}
	unit := map[string]float64{"B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9}
	part := speedForm.FindStringSubmatch(s)
	if part == nil {
		return 0, fmt.Errorf("%w: speed %q: want a number with B/s, kB/s, MB/s or GB/s", ErrBadFault, s)
	}
	number, err := strconv.ParseFloat(part[1], 64)
	speed := number * unit[part[2]]
	if err != nil || speed < 1 || speed > 1e12 {
		return 0, fmt.Errorf("%w: speed %q: want 1 B/s to 1000 GB/s", ErrBadFault, s)
	}
	return int64(speed), nil
}
