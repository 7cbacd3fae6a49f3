package proc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Wait blocks until this very process has ended or ctx is done. The process
// need not be a child of the caller (poll(2) on a pidfd).
func (id ID) Wait(ctx context.Context) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	for id.Alive() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for process %d to end: %w", id.PID, err)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		const slice = 100 * time.Millisecond
		if _, err := unix.Poll(fds, int(slice.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", id.PID, err)
		}
	}
	return nil
}

// Stop asks the process to end with SIGTERM, and ends it with SIGKILL when
// grace is over; grace 0 kills at once. It returns when the process is gone,
// which is no error if it was gone before.
func (id ID) Stop(ctx context.Context, grace time.Duration) error {
	if grace > 0 {
		if err := id.Signal(unix.SIGTERM); errors.Is(err, ErrGone) {
			return nil
		} else if err != nil {
			return err
		}
		soft, cancel := context.WithTimeout(ctx, grace)
		err := id.Wait(soft)
		cancel()
		if err == nil {
			return nil
		}
	}
	if err := id.Signal(unix.SIGKILL); errors.Is(err, ErrGone) {
		return nil
	} else if err != nil {
		return err
	}
	return id.Wait(ctx)
}
