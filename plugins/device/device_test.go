package device

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/gantry-pod/gantry/plugins/proto/v1"
)

// TestErrorsTravel sends every reason over a gRPC status and back.
func TestErrorsTravel(t *testing.T) {
	for r := Unspecified; r <= Internal; r++ {
		sent := &Error{Reason: r, Retryable: true, StateKnown: r%2 == 0, DeviceCode: "genErr(5)", Message: "outlet 7"}
		got := ErrorFromStatus(sent.GRPCStatus().Err())
		if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
			t.Errorf("%s (-sent +got):\n%s", r, diff)
		}
		if !errors.Is(fmt.Errorf("wrapped: %w", got), &Error{Reason: r}) {
			t.Errorf("%s is not itself", r)
		}
	}
}

// TestBareStatus judges a status without a detail: a change may have happened.
func TestBareStatus(t *testing.T) {
	for code, want := range map[codes.Code]Error{
		codes.Unavailable:      {Reason: Unreachable, Retryable: true},
		codes.DeadlineExceeded: {Reason: Unreachable, Retryable: true},
		codes.Unimplemented:    {Reason: Unsupported, StateKnown: true},
		codes.Unknown:          {Reason: Internal},
	} {
		want.Message = "x"
		got := ErrorFromStatus(status.Error(code, "x"))
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", code, diff)
		}
	}
	if got := AsError(fmt.Errorf("read: %w", context.DeadlineExceeded)); got.Reason != Unreachable || got.StateKnown {
		t.Errorf("a deadline is %+v", got)
	}
}

// TestTextIsClean: what a driver says is shown on terminals.
func TestTextIsClean(t *testing.T) {
	const bad, good = "web\x1b[2J\u009b1\n\u202e✓", "web[2J1 ✓"
	texts := []string{
		OutletFromWire(&pluginv1.Outlet{Label: bad}).Label, OutletFromWire(&pluginv1.Outlet{Id: bad}).ID,
		IdentityFromWire(&pluginv1.ProbeResponse{Identity: &pluginv1.Identity{Model: bad}}).Model,
		ErrorFromWire(&pluginv1.ErrorDetail{Message: bad}).Message, ErrorFromWire(&pluginv1.ErrorDetail{DeviceCode: bad}).DeviceCode,
		ResultFromWire(&pluginv1.ChangeResult{DeviceCode: bad}).DeviceCode,
		ErrorFromStatus(status.Error(codes.Unknown, bad)).Message, InfoFromWire(&pluginv1.InfoResponse{Version: bad}).Version,
	}
	for i, got := range texts {
		if got != good {
			t.Errorf("text %d is %q, want %q", i, got, good)
		}
	}
}

// TestLaterContract takes numbers that this version does not have as unknown.
func TestLaterContract(t *testing.T) {
	for _, n := range []int32{-1, 6, 99} {
		if s := StateFromWire(pluginv1.OutletState(n)); s != StateUnknown {
			t.Errorf("state %d is %s", n, s)
		}
		if r := ResultFromWire(&pluginv1.ChangeResult{Outcome: pluginv1.Outcome(n)}); r.Outcome != OutcomeUnknown {
			t.Errorf("outcome %d is %s", n, r.Outcome)
		}
	}
}
