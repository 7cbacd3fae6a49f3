package device

import (
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

// clean makes a driver's text safe to show on a terminal and in a line of a log.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, s)
}

// StateFromWire returns the state, unknown for a number that this version of
// the contract does not have.
func StateFromWire(s pluginv1.OutletState) State {
	if s < 0 || s > pluginv1.OutletState_OUTLET_STATE_ABSENT {
		return StateUnknown
	}
	return State(s)
}

// InfoFromWire returns who a driver says it is, without its kinds.
func InfoFromWire(i *pluginv1.InfoResponse) Info {
	return Info{Name: clean(i.GetName()), Vendor: clean(i.GetVendor()), Version: clean(i.GetVersion())}
}

// Wire returns the state as the contract numbers it.
func (s State) Wire() pluginv1.OutletState { return pluginv1.OutletState(s) }

// TargetFromWire returns the target, zero for nil.
func TargetFromWire(t *pluginv1.Target) Target {
	return Target{Address: t.GetAddress(), Config: t.GetConfig(), Name: t.GetName()}
}

// Wire returns the target as a message.
func (t Target) Wire() *pluginv1.Target {
	return &pluginv1.Target{Address: t.Address, Config: t.Config, Name: t.Name}
}

// OutletFromWire returns the outlet, zero for nil.
func OutletFromWire(o *pluginv1.Outlet) Outlet {
	return Outlet{ID: clean(o.GetId()), Strip: clean(o.GetStrip()), Bank: clean(o.GetBank()), Number: int(o.GetNumber()),
		Label: clean(o.GetLabel()), State: StateFromWire(o.GetState())}
}

// Wire returns the outlet as a message.
func (o Outlet) Wire() *pluginv1.Outlet {
	return &pluginv1.Outlet{Id: o.ID, Strip: o.Strip, Bank: o.Bank, Number: uint32(max(o.Number, 0)),
		Label: o.Label, State: o.State.Wire()}
}

// ResultFromWire returns the result. An outcome of a later contract is unknown.
func ResultFromWire(r *pluginv1.ChangeResult) Result {
	res := Result{Before: StateFromWire(r.GetBefore()), After: StateFromWire(r.GetAfter()), DeviceCode: clean(r.GetDeviceCode())}
	if o := r.GetOutcome(); o >= 0 && o <= pluginv1.Outcome_OUTCOME_PENDING {
		res.Outcome = Outcome(o)
	}
	return res
}

// Wire returns the result as a message; dryRun is echoed.
func (r Result) Wire(dryRun bool) *pluginv1.ChangeResult {
	return &pluginv1.ChangeResult{Before: r.Before.Wire(), After: r.After.Wire(),
		Outcome: pluginv1.Outcome(r.Outcome), DeviceCode: r.DeviceCode, DryRun: dryRun}
}

// IdentityFromWire returns what a probe answered.
func IdentityFromWire(p *pluginv1.ProbeResponse) Identity {
	i, c, l := p.GetIdentity(), p.GetCapabilities(), p.GetLimits()
	return Identity{
		Vendor: clean(i.GetVendor()), Model: clean(i.GetModel()), Serial: clean(i.GetSerial()), Firmware: clean(i.GetFirmware()),
		Name: clean(i.GetName()), Family: clean(i.GetFamily()),
		CanSet: c.GetPduSet(), CanCycle: c.GetPduCycle(), TellsMoves: c.GetPduPending(),
		Outlets: int(l.GetOutlets()), ParallelCalls: int(l.GetParallelCalls()),
	}
}

// Wire returns the identity as a probe's answer.
func (i Identity) Wire() *pluginv1.ProbeResponse {
	return &pluginv1.ProbeResponse{
		Identity: &pluginv1.Identity{Vendor: i.Vendor, Model: i.Model, Serial: i.Serial, Firmware: i.Firmware,
			Name: i.Name, Family: i.Family},
		Capabilities: &pluginv1.Capabilities{PduSet: i.CanSet, PduCycle: i.CanCycle, PduPending: i.TellsMoves},
		Limits:       &pluginv1.Limits{Outlets: uint32(max(i.Outlets, 0)), ParallelCalls: uint32(max(i.ParallelCalls, 0))},
	}
}

// ErrorFromWire returns the error of a detail, nil for nil.
func ErrorFromWire(d *pluginv1.ErrorDetail) *Error {
	if d == nil {
		return nil
	}
	reason := Unspecified
	if d.GetReason() >= 0 && d.GetReason() <= pluginv1.Reason_REASON_INTERNAL {
		reason = Reason(d.GetReason())
	}
	return &Error{Reason: reason, Retryable: d.GetRetryable(), StateKnown: d.GetStateKnown(),
		DeviceCode: clean(d.GetDeviceCode()), Message: clean(d.GetMessage())}
}

// Wire returns the error as a detail, nil for nil.
func (e *Error) Wire() *pluginv1.ErrorDetail {
	if e == nil {
		return nil
	}
	return &pluginv1.ErrorDetail{Reason: pluginv1.Reason(e.Reason), Retryable: e.Retryable,
		StateKnown: e.StateKnown, DeviceCode: e.DeviceCode, Message: e.Message}
}

// GRPCStatus makes the error a gRPC status with its detail attached, which is
// how it leaves a driver.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.code(), e.Message)
	if detailed, err := st.WithDetails(e.Wire()); err == nil {
		return detailed
	}
	return st
}

func (e *Error) code() codes.Code {
	switch e.Reason {
	case NotFound:
		return codes.NotFound
	case Unsupported:
		return codes.Unimplemented
	case Limit:
		return codes.ResourceExhausted
	case Busy, Unreachable:
		return codes.Unavailable
	case Auth:
		return codes.PermissionDenied
	case Rejected:
		return codes.InvalidArgument
	case Conflict:
		return codes.AlreadyExists
	case StaleGeneration:
		return codes.FailedPrecondition
	case Ambiguous:
		return codes.Unknown
	}
	return codes.Internal
}

// ErrorFromStatus returns what a driver's call failed with. A status without a
// detail (the driver died, hung, or is not built with the SDK) is judged by its
// code, and the state is then not known.
func ErrorFromStatus(err error) *Error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	for _, d := range st.Details() {
		if detail, ok := d.(*pluginv1.ErrorDetail); ok {
			e := ErrorFromWire(detail)
			e.cause = err
			return e
		}
	}
	e := &Error{Message: clean(st.Message()), cause: err}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		e.Reason, e.Retryable = Unreachable, true
	case codes.Unimplemented:
		e.Reason, e.StateKnown = Unsupported, true
	case codes.NotFound:
		e.Reason, e.StateKnown = NotFound, true
	case codes.InvalidArgument:
		e.Reason, e.StateKnown = Rejected, true
	default:
		e.Reason = Internal
	}
	return e
}
