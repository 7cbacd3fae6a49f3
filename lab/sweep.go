package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// markerName is the file that makes a directory a lab's: only such a directory
// is ever removed as a whole.
const markerName = ".gantry-lab"

// Sweep removes what a lab of that name left behind when it was killed, and its
// state directory too unless keep is set. It returns [ErrHeld] while the lab is
// up, and nil when there is nothing to remove.
func Sweep(ctx context.Context, name string, keep bool) error {
	c, err := claimName(name)
	if err != nil {
		return err
	}
	defer c.release()
	stateDir, err := c.sweep(ctx)
	if err != nil || keep || stateDir == "" {
		return err
	}
	return RemoveState(stateDir)
}

// StateDirOf returns the state directory of the lab of that name, which is up
// or was killed; [os.ErrNotExist] if there is none.
func StateDirOf(name string) (string, error) {
	r, err := readRecord(name)
	return r.StateDir, err
}

// MakeState makes a lab's state directory, or takes one that was a lab's. It
// refuses one that holds anything else.
func MakeState(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	marker := filepath.Join(dir, markerName)
	if _, err := os.Stat(marker); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("state directory %s: holds something that is no lab's, such as %s", dir, entries[0].Name())
	}
	return os.WriteFile(marker, []byte("A lab of Gantry's; `gantry lab down` removes this directory.\n"), 0o640)
}

// RemoveState removes a lab's state directory, unless no lab made it.
func RemoveState(dir string) error {
	_, err := os.Stat(filepath.Join(dir, markerName))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("state directory %s: not a lab's, left as it is", dir)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
