package device

import (
	"context"
	"errors"
	"fmt"
)

// Reason is why a call failed, in words that a caller can act on.
type Reason uint8

// The reasons, numbered as in the contract's Reason.
const (
	Unspecified Reason = iota
	NotFound
	Unsupported
	Limit
	Busy
	Auth
	Unreachable
	Rejected
	Conflict
	Ambiguous
	StaleGeneration
	Internal
)

// String returns the reason as it stands in messages and metrics.
func (r Reason) String() string {
	names := [...]string{"unspecified", "not found", "unsupported", "limit", "busy", "auth",
		"unreachable", "rejected", "conflict", "ambiguous", "stale generation", "internal"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unspecified"
}

// Error is why a device call failed.
type Error struct {
	Reason Reason
	// Retryable: the very same call may succeed later.
	Retryable bool
	// StateKnown: the device is known to be as it was before the call. False
	// after a change means that it may or may not have happened.
	StateKnown bool
	// DeviceCode is the device's own error, verbatim: genErr(5).
	DeviceCode string
	// Message says what was done to what, and what is wrong. No secrets.
	Message string

	cause error
}

// Errorf makes an Error. An operand of %w becomes its cause. It is retryable
// exactly when the reason alone says so (busy, unreachable), and the state is
// taken as known; callers that know better set the fields.
func Errorf(reason Reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		Reason:     reason,
		Retryable:  reason == Busy || reason == Unreachable,
		StateKnown: true,
		Message:    err.Error(),
		cause:      errors.Unwrap(err),
	}
}

// Error returns the message with the reason and the device's own code.
func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = "device call failed"
	}
	if e.DeviceCode != "" {
		s += " (device says " + e.DeviceCode + ")"
	}
	return s + ": " + e.Reason.String()
}

// Unwrap returns the cause, if any.
func (e *Error) Unwrap() error { return e.cause }

// Is matches another *Error by its reason alone, so that
// errors.Is(err, &device.Error{Reason: device.NotFound}) reads well.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason && t.Message == "" && t.DeviceCode == ""
}

// AsError returns err as an *Error. Deadlines and cancellation become
// Unreachable with the state unknown, anything else Internal.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	reason := Internal
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		reason = Unreachable
	}
	return &Error{Reason: reason, Retryable: reason == Unreachable, Message: err.Error(), cause: err}
}
