package host

import (
	"context"
	"crypto/sha256"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-pod/gantry/plugins/device"
	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

// The words of the contract, under the name by which the appliance imports
// them.
type (
	Target   = device.Target
	Identity = device.Identity
	Outlet   = device.Outlet
	State    = device.State
	Change   = device.Change
	Result   = device.Result
	Outcome  = device.Outcome
	Reading  = device.Reading
	Error    = device.Error
	Reason   = device.Reason
)

// PDU is one power distribution unit behind one driver. It is a small value,
// cheap to make, and safe for concurrent use. Every method ends by ctx's
// deadline, or by Config.CallTimeout if it has none, and fails with an *Error.
type PDU struct {
	host   *Host
	driver string
	target Target
}

// PDU returns the device at target, driven by the driver of that name. Nothing
// is checked or called before its first method is.
func (h *Host) PDU(driver string, target Target) PDU {
	return PDU{host: h, driver: driver, target: target}
}

// Probe asks the device who it is and what it can do.
func (p PDU) Probe(ctx context.Context) (Identity, error) {
	var answer *pluginv1.ProbeResponse
	err := p.call(ctx, false, func(ctx context.Context, l *live, _ *deviceSlot) (err error) {
		answer, err = l.driver.Probe(ctx, &pluginv1.ProbeRequest{Target: p.target.Wire()})
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	return device.IdentityFromWire(answer), nil
}

// List returns all outlets with their states, in the device's order.
func (p PDU) List(ctx context.Context) ([]Outlet, error) {
	var answer *pluginv1.ListOutletsResponse
	err := p.call(ctx, false, func(ctx context.Context, l *live, _ *deviceSlot) (err error) {
		answer, err = l.pdu.ListOutlets(ctx, &pluginv1.ListOutletsRequest{Target: p.target.Wire()})
		return err
	})
	if err != nil {
		return nil, err
	}
	outlets := make([]Outlet, len(answer.GetOutlets()))
	for i, o := range answer.GetOutlets() {
		outlets[i] = device.OutletFromWire(o)
	}
	return outlets, nil
}

// Get returns an outlet's state. An outlet that the device does not have is an
// error with NotFound; a state that cannot be understood is StateUnknown.
func (p PDU) Get(ctx context.Context, outletID string) (State, error) {
	readings, err := p.GetMany(ctx, []string{outletID})
	if err != nil {
		return device.StateUnknown, err
	}
	if readings[0].Err != nil {
		return device.StateUnknown, readings[0].Err
	}
	return readings[0].State, nil
}

// GetMany reads outlets in as few requests to the device as it allows, and
// answers each in the order of ids.
func (p PDU) GetMany(ctx context.Context, ids []string) ([]Reading, error) {
	var answer *pluginv1.GetOutletsResponse
	err := p.call(ctx, false, func(ctx context.Context, l *live, _ *deviceSlot) (err error) {
		answer, err = l.pdu.GetOutlets(ctx, &pluginv1.GetOutletsRequest{Target: p.target.Wire(), Ids: ids})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(answer.GetReadings()) != len(ids) {
		return nil, device.Errorf(device.Internal, "driver %s: asked for %d outlets of %s, answered %d", p.driver, len(ids), p.target.Address, len(answer.GetReadings()))
	}
	readings := make([]Reading, len(ids))
	for i, r := range answer.GetReadings() {
		if r.GetId() != ids[i] {
			return nil, device.Errorf(device.Internal, "driver %s: asked for outlet %s of %s, answered %s", p.driver, ids[i], p.target.Address, r.GetId())
		}
		readings[i] = Reading{ID: r.GetId(), State: device.StateFromWire(r.GetState()), Err: device.ErrorFromWire(r.GetError())}
	}
	return readings, nil
}

// Set makes an outlet be on or off. The operation ID names this one change of
// this outlet: off and on of a restart are two. A device has one change at a
// time; others wait their turn.
func (p PDU) Set(ctx context.Context, change Change) (Result, error) {
	var answer *pluginv1.SetOutletResponse
	err := p.change(ctx, change, func(ctx context.Context, l *live, op *pluginv1.Operation) (err error) {
		answer, err = l.pdu.SetOutlet(ctx, &pluginv1.SetOutletRequest{Target: p.target.Wire(), Operation: op, Outlet: change.Outlet, On: change.On})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	result := device.ResultFromWire(answer.GetResult())
	if err := honest(p, change, result); err != nil {
		return Result{}, err
	}
	return result, nil
}

// Cycle has the device itself switch an outlet off and on again; change.On is
// not used. Identity.CanCycle says whether it can.
func (p PDU) Cycle(ctx context.Context, change Change) (Result, error) {
	var answer *pluginv1.CycleOutletResponse
	err := p.change(ctx, change, func(ctx context.Context, l *live, op *pluginv1.Operation) (err error) {
		answer, err = l.pdu.CycleOutlet(ctx, &pluginv1.CycleOutletRequest{Target: p.target.Wire(), Operation: op, Outlet: change.Outlet})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return device.ResultFromWire(answer.GetResult()), nil
}

// honest refuses a success that the driver's own reading contradicts.
func honest(p PDU, c Change, r Result) error {
	claims := r.Outcome == device.OutcomeApplied && !c.DryRun || r.Outcome == device.OutcomeAlready
	if claims && r.After != device.Settled(c.On) {
		e := device.Errorf(device.Ambiguous, "driver %s: outlet %s of %s is said to be set, but it reads %s", p.driver, c.Outlet, p.target.Address, r.After)
		e.StateKnown = false
		return e
	}
	return nil
}

func (p PDU) change(ctx context.Context, c Change, run func(context.Context, *live, *pluginv1.Operation) error) error {
	return p.call(ctx, true, func(ctx context.Context, l *live, slot *deviceSlot) error {
		if err := p.host.devices.fence(slot, p.target.Address, c); err != nil {
			return err
		}
		op := &pluginv1.Operation{Id: c.OperationID, Generation: c.Generation, DryRun: c.DryRun}
		if deadline, ok := ctx.Deadline(); ok {
			op.DeadlineUnixMs = deadline.UnixMilli()
		}
		return run(ctx, l, op)
	})
}

// call runs one call on the device, in its turn, once the driver is there and
// the configuration is found good.
func (p PDU) call(ctx context.Context, change bool, run func(context.Context, *live, *deviceSlot) error) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.host.cfg.CallTimeout)
		defer cancel()
	}
	d := p.host.drivers[p.driver]
	if d == nil {
		return device.Errorf(device.Unsupported, "no driver %q in %s", p.driver, p.host.cfg.Dir)
	}
	slot, leave, err := p.host.devices.enter(ctx, deviceKey{p.driver, p.target.Address}, change)
	if err != nil {
		return err
	}
	defer leave()
	l, err := d.await(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = p.checkConfig(ctx, l)
	if err == nil {
		l.active.Add(1)
		err = run(ctx, l, slot)
		l.active.Add(-1)
	}
	if err == nil {
		return nil
	}
	if brokenOff(err) {
		l.suspect.Store(true)
	}
	e := asError(err)
	p.host.cfg.Log.Debug("device call failed", "driver", p.driver, "device", p.target.Name, "took", time.Since(begun), "error", e)
	return e
}

// brokenOff says whether a call failed without an answer of the driver's own.
func brokenOff(err error) bool {
	st, ok := status.FromError(err)
	return ok && len(st.Details()) == 0 && (st.Code() == codes.Unavailable || st.Code() == codes.Canceled)
}

func asError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return device.ErrorFromStatus(err)
}

// checkConfig asks the driver's schema and the driver itself about the
// target's configuration, once for each that is new.
func (p PDU) checkConfig(ctx context.Context, l *live) error {
	key := sha256.Sum256(append([]byte(p.target.Address+"\x00"), p.target.Config...))
	if l.configs.known(key) {
		return nil
	}
	if err := l.configs.check(p.target.Config); err != nil {
		return device.Errorf(device.Rejected, "configuration of %s for driver %s: %w", p.target.Name, p.driver, err)
	}
	if _, err := l.driver.Validate(ctx, &pluginv1.ValidateRequest{Target: p.target.Wire()}); err != nil {
		return err
	}
	l.configs.remember(key)
	return nil
}
