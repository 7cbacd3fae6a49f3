package appliance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/host"
)

// devices joins the inventory's PDUs with the drivers that talk to them, for
// the power actuator and the API.
type devices struct {
	assets  *asset.Registry
	drivers *host.Host
	power   *power.Actuator
	now     func() time.Time
	last    atomic.Uint64 // the last generation given out
}

// Outlets implements power.Devices.
func (d *devices) Outlets(ctx context.Context, id string) (power.Outlets, error) {
	pdu, err := d.pdu(ctx, id)
	if err != nil {
		return nil, err
	}
	return outlets{pdu, d.generation}, nil
}

// generation numbers a change of an outlet: the clock's time, for people and
// for the process after this one, and always more than the last, for a clock
// that is set back.
func (d *devices) generation() uint64 {
	for {
		last := d.last.Load()
		next := max(last+1, uint64(d.now().UnixNano()))
		if d.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

func (d *devices) pdu(ctx context.Context, id string) (host.PDU, error) {
	p, err := d.assets.PDU(ctx, id)
	if err != nil {
		return host.PDU{}, err
	}
	return d.drivers.PDU(p.Driver, host.Target{Address: p.Address, Config: []byte(p.Config), Name: p.ID}), nil
}

// outlets are a PDU's, as the power actuator sees them.
type outlets struct {
	pdu        host.PDU
	generation func() uint64
}

// Get implements power.Outlets.
func (o outlets) Get(ctx context.Context, outlet string) (power.State, error) {
	s, err := o.pdu.Get(ctx, outlet)
	if err != nil {
		return power.Unknown, retry(err)
	}
	return powerState(s), nil
}

// Set implements power.Outlets.
func (o outlets) Set(ctx context.Context, outlet string, on bool, op string) error {
	_, err := o.pdu.Set(ctx, host.Change{Outlet: outlet, On: on, OperationID: op, Generation: o.generation()})
	return retry(err)
}

func powerState(s host.State) power.State {
	switch s {
	case device.StateOn:
		return power.On
	case device.StateOff:
		return power.Off
	case device.StatePendingOn:
		return power.PendingOn
	case device.StatePendingOff:
		return power.PendingOff
	case device.StateAbsent:
		return power.Absent
	}
	return power.Unknown
}

// driverError is a driver's error that says of itself whether to try again.
type driverError struct{ cause *host.Error }

// Error implements error.
func (e driverError) Error() string { return e.cause.Error() }

// Unwrap returns the driver's error.
func (e driverError) Unwrap() error { return e.cause }

// CanRetry is what package power asks.
func (e driverError) CanRetry() bool { return e.cause.Retryable }

// StateUnknown is what package power asks: whether the change may have happened.
func (e driverError) StateUnknown() bool { return !e.cause.StateKnown }

func retry(err error) error {
	if err == nil {
		return nil
	}
	if e := device.AsError(err); e != nil {
		return driverError{e}
	}
	return err
}

// pduDesk is the API's view of the PDUs.
type pduDesk struct{ *devices }

// Outlets implements api.PDUs.
func (d pduDesk) Outlets(ctx context.Context, id string) ([]api.Outlet, error) {
	pdu, err := d.pdu(ctx, id)
	if err != nil {
		return nil, err
	}
	list, err := pdu.List(ctx)
	if err != nil {
		return nil, &power.Error{Feed: asset.Feed{PDU: id, Outlet: "*"}, State: power.Unknown, Err: err}
	}
	out := []api.Outlet{}
	for _, o := range list {
		v := api.Outlet{ID: o.ID, Label: o.Label, State: string(powerState(o.State))}
		if m, err := d.assets.ByOutlet(ctx, asset.Feed{PDU: id, Outlet: o.ID}); err == nil {
			v.Machine = m.ID
		}
		out = append(out, v)
	}
	return out, nil
}

// Switch implements api.PDUs.
func (d pduDesk) Switch(ctx context.Context, id, outlet string, on bool) (api.Outlet, error) {
	m := &asset.Machine{ID: fmt.Sprintf("on outlet %s of %s", outlet, id), Power: []asset.Feed{{PDU: id, Outlet: outlet}}}
	bring, want := d.power.Off, power.Off
	if on {
		bring, want = d.power.On, power.On
	}
	if err := bring(ctx, m, "by-hand-"+time.Now().UTC().Format(time.RFC3339Nano), func(string) {}); err != nil {
		return api.Outlet{}, err
	}
	return api.Outlet{ID: outlet, State: string(want)}, nil
}
