// Package proc names a process so that it can never be confused with another:
// by its ID together with the moment it started. Process IDs are reused; the
// pair is not, within one boot of the kernel.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrGone is returned for a process that has ended, or whose ID now belongs to
// another one.
var ErrGone = errors.New("process is gone")

// ID identifies one process for as long as the kernel runs.
type ID struct {
	// PID is the process ID.
	PID int `json:"pid"`
	// Start is the start time in clock ticks since boot: field 22 of
	// /proc/PID/stat, proc(5).
	Start uint64 `json:"start"`
}

// Of returns the ID of the process that has pid now; [ErrGone] if none has. A
// zombie, which has ended but was not waited for, counts as gone.
func Of(pid int) (ID, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return ID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	state, start, err := parseStat(string(text))
	if err != nil {
		return ID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return ID{PID: pid, Start: start}, nil
}

// parseStat returns the state and start time from the text of /proc/PID/stat.
// The command in the second field may contain spaces and parentheses, so fields
// are counted from the last closing one.
func parseStat(text string) (state string, start uint64, err error) {
	_, rest, ok := cutLast(text, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", 0, fmt.Errorf("stat %.40q: too few fields", text)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("stat: start time: %w", err)
	}
	return fields[0], start, nil
}

// cutLast splits s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Alive says whether this very process still runs.
func (id ID) Alive() bool {
	now, err := Of(id.PID)
	return err == nil && now == id
}

// Signal sends sig to this very process and to no other, even if it ends while
// Signal runs: the process is held by a file descriptor (pidfd_open(2)) and then
// compared. It returns [ErrGone] if there is nothing to signal.
func (id ID) Signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", id.PID, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	if !id.Alive() {
		return fmt.Errorf("process %d: %w", id.PID, ErrGone)
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", id.PID, ErrGone)
	} else if err != nil {
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}
