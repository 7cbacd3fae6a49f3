package pebblekv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gantry-pod/gantry/store/pebblekv"
)

// childEnv names the variable that makes the test's program a writer, which the
// test then kills, or which kills itself: its value is the directory and the mode.
const childEnv = "PEBBLEKV_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir, mode, ok := strings.Cut(os.Getenv(childEnv), "|"); ok {
		fmt.Fprintln(os.Stderr, child(dir, mode))
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// armed is a fault that begins when it is told to.
type armed struct {
	on   atomic.Bool
	hits func(op errorfs.Op) bool
}

func (a *armed) String() string { return "armed fault" }

func (a *armed) MaybeError(op errorfs.Op) error {
	if a.on.Load() && a.hits(op) {
		return fmt.Errorf("%s: %w", op.Path, errDisk)
	}
	return nil
}

// faults are the ways in which a disk fails Pebble where it cannot go on.
func faults(mode string) func(op errorfs.Op) bool {
	switch mode {
	case "manifest":
		return func(op errorfs.Op) bool {
			return strings.HasPrefix(filepath.Base(op.Path), "MANIFEST") && (slices.Contains(syncs, op.Kind) || slices.Contains(writes, op.Kind))
		}
	case "rotation":
		return func(op errorfs.Op) bool {
			return filepath.Ext(op.Path) == ".log" && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		}
	}
	return func(errorfs.Op) bool { return false }
}

// child commits until it dies, and prints a line for each acknowledgement.
func child(dir, mode string) error {
	fault := &armed{hits: faults(mode)}
	e, err := pebblekv.Open(dir, pebblekv.Options{
		FS:     errorfs.Wrap(vfs.Default, fault),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	fault.on.Store(true)
	var wg sync.WaitGroup
	failed := make(chan error, writers)
	for w := range writers {
		wg.Go(func() {
			for n := 1; ; n++ {
				if err := commitRows(context.Background(), e, w, n); err != nil {
					failed <- err
					return
				}
				fmt.Printf("%d %d\n", w, n)
			}
		})
	}
	wg.Wait()
	return <-failed
}

// TestProcessDies runs writers in a process of their own that is killed, or whose
// disk fails so that it must end. All that it printed as acknowledged is there.
func TestProcessDies(t *testing.T) {
	for _, mode := range []string{"kill", "manifest", "rotation"} {
		t.Run(mode, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "db")
			promised := runChild(t, dir, mode)
			e := open(t, dir, nil)
			checkWhole(t, e, promised)
			closeEngine(t, e)
		})
	}
}

// runChild runs the child until it is dead, and returns what it acknowledged.
func runChild(t *testing.T, dir, mode string) (promised [writers]int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir+"|"+mode)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	left, lines := 50+rand.IntN(300), bufio.NewScanner(out)
	for lines.Scan() {
		var w, n int
		fmt.Sscanf(lines.Text(), "%d %d", &w, &n)
		promised[w] = n
		if left--; mode == "kill" && left == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("the process ended with %v, want it to die", err)
	}
	if mode != "kill" && !strings.Contains(complaint.String(), errDisk.Error()) {
		t.Errorf("the process died without a reason:\n%s", complaint.String())
	}
	t.Logf("acknowledged before it died: %v", promised)
	return promised
}
