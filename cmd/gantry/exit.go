package main

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// The exit codes of gantry, which scripts may rely on.
const (
	exitOK          = 0   // done
	exitFailed      = 1   // it was tried and failed
	exitUsage       = 2   // the command line is wrong; nothing was tried
	exitNotFound    = 3   // what was named does not exist
	exitRefused     = 4   // it exists, but its state or owner forbids this
	exitUnreachable = 5   // the appliance or the lab did not answer in time
	exitInterrupted = 130 // stopped by a signal
)

// exitHelp is the part of the help text that documents the codes.
const exitHelp = `Exit codes:
  0    done
  1    it was tried and failed
  2    wrong usage, nothing was tried
  3    what was named does not exist
  4    refused: the state or the owner forbids it
  5    the appliance or the lab did not answer
  130  interrupted`

// codedError carries an exit code with an error.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// withCode gives err an exit code; a nil err stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: code, err: err}
}

// exitCode is the exit code that err ends the process with: its own if
// [withCode] gave it one, else what its cause says.
func exitCode(ctx context.Context, err error) int {
	var coded *codedError
	var op *net.OpError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ECONNREFUSED),
		errors.As(err, &op) && errors.Is(err, os.ErrNotExist):
		return exitUnreachable
	}
	return exitFailed
}
