package sdk

import (
	"context"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

// pduServer puts a vendor's PDU behind the contract.
type pduServer struct {
	pluginv1.UnimplementedPDUServer
	*server
	pdu PDU
}

// ListOutlets lists all outlets.
func (p *pduServer) ListOutlets(ctx context.Context, req *pluginv1.ListOutletsRequest) (*pluginv1.ListOutletsResponse, error) {
	outlets, err := p.pdu.ListOutlets(ctx, device.TargetFromWire(req.GetTarget()))
	if err != nil {
		return nil, err
	}
	answer := &pluginv1.ListOutletsResponse{Outlets: make([]*pluginv1.Outlet, len(outlets))}
	for i, o := range outlets {
		answer.Outlets[i] = o.Wire()
	}
	return answer, nil
}

// GetOutlets reads the outlets asked for.
func (p *pduServer) GetOutlets(ctx context.Context, req *pluginv1.GetOutletsRequest) (*pluginv1.GetOutletsResponse, error) {
	readings, err := p.pdu.GetOutlets(ctx, device.TargetFromWire(req.GetTarget()), req.GetIds())
	if err != nil {
		return nil, err
	}
	answer := &pluginv1.GetOutletsResponse{Readings: make([]*pluginv1.OutletReading, len(readings))}
	for i, r := range readings {
		answer.Readings[i] = &pluginv1.OutletReading{Id: r.ID, State: r.State.Wire(), Error: r.Err.Wire()}
	}
	return answer, nil
}

// SetOutlet switches an outlet, unless a newer caller has spoken.
func (p *pduServer) SetOutlet(ctx context.Context, req *pluginv1.SetOutletRequest) (*pluginv1.SetOutletResponse, error) {
	change := changeFromWire(req.GetOperation(), req.GetOutlet())
	change.On = req.GetOn()
	kind := "off"
	if change.On {
		kind = "on"
	}
	result, err := p.change(ctx, req.GetTarget(), req.GetOperation(), kind, change, p.pdu.SetOutlet)
	if err != nil {
		return nil, err
	}
	return &pluginv1.SetOutletResponse{Result: result}, nil
}

// CycleOutlet has the device cycle an outlet, at most once per operation ID.
func (p *pduServer) CycleOutlet(ctx context.Context, req *pluginv1.CycleOutletRequest) (*pluginv1.CycleOutletResponse, error) {
	cycler, ok := p.pdu.(Cycler)
	if !ok {
		return nil, device.Errorf(device.Unsupported, "outlet %s of %s: this driver cannot cycle outlets", req.GetOutlet(), req.GetTarget().GetName())
	}
	change := changeFromWire(req.GetOperation(), req.GetOutlet())
	result, err := p.change(ctx, req.GetTarget(), req.GetOperation(), kindCycle, change, cycler.CycleOutlet)
	if err != nil {
		return nil, err
	}
	return &pluginv1.CycleOutletResponse{Result: result}, nil
}

func changeFromWire(op *pluginv1.Operation, outlet string) device.Change {
	return device.Change{Outlet: outlet, OperationID: op.GetId(), Generation: op.GetGeneration(), DryRun: op.GetDryRun()}
}

type changeFunc func(context.Context, device.Target, device.Change) (device.Result, error)

// change runs one change under its deadline and the fence.
func (p *pduServer) change(ctx context.Context, target *pluginv1.Target, op *pluginv1.Operation, kind string, change device.Change, run changeFunc) (*pluginv1.ChangeResult, error) {
	if ms := op.GetDeadlineUnixMs(); ms != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, time.UnixMilli(ms))
		defer cancel()
	}
	if change.OperationID == "" {
		return nil, device.Errorf(device.Rejected, "outlet %s of %s: a change needs an operation ID", change.Outlet, target.GetName())
	}
	done, earlier, err := p.fence.enter(ctx, target.GetAddress(), kind, change)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return earlier.Wire(change.DryRun), nil
	}
	// Were run to panic, the outlet would be free for others all the same.
	var result device.Result
	err = device.Errorf(device.Internal, "outlet %s of %s: the driver panicked", change.Outlet, target.GetName())
	defer func() { done(result, err) }()
	if result, err = run(ctx, device.TargetFromWire(target), change); err != nil {
		return nil, err
	}
	return result.Wire(change.DryRun), nil
}
