package write

import (
	"context"
	"errors"
	"fmt"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

func problem(code string, retry bool, format string, args ...any) *job.Problem {
	return &job.Problem{Code: code, Retry: retry, Detail: fmt.Sprintf(format, args...)}
}

// asProblem makes an error one that says what to do about it.
func asProblem(ctx context.Context, err error, what string) error {
	var p *job.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return err
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return problem("deadline", true, "%s: %s", what, err)
	case ctx.Err() != nil:
		return problem("cancelled", true, "%s: %s", what, context.Cause(ctx))
	case errors.Is(err, format.ErrSignature):
		return problem("image-signature", false, "%s: %s", what, err)
	case errors.Is(err, format.ErrDigest), errors.Is(err, format.ErrMalformed), errors.Is(err, format.ErrVersion):
		return problem("image-digest", false, "%s: %s", what, err)
	}
	return problem("internal", true, "%s: %s", what, err)
}
