// Command soak lets chance work on a pod: on a real appliance with its real
// driver and a PDU that obeys the MIB, it gives random requests for many
// machines while their power, their network, their outlets, the images and the
// appliance itself fail at random, all of it from a seed. The machines are
// processes (lab/soak/sim) that speak the real protocols, since QEMU would fit
// two of them; they use netboot's own client, worker and image writer.
//
// After each seed, and while it runs, it checks what must always hold: no
// machine is locked without an open request and none has two; every request
// ends; the disk of a machine that was released is zero, that of an active one
// is its image; no system starts once its release was accepted; no forged token
// is taken; and in the end every machine can be brought back. When something
// does not hold it prints the seed and what happened, and shrinks the list of
// events to a small one that still fails.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab/soak/sim"
)

// machineFlag has the program be a machine: its specification, as JSON.
const machineFlag = "-be-machine="

// config is what the command line says.
type config struct {
	seed                    uint64
	seeds, machines, events int
	build, dir              string
	shrink                  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) > 1 {
		if spec, ok := strings.CutPrefix(os.Args[1], machineFlag); ok {
			return beMachine(ctx, spec)
		}
	}
	c := config{}
	flag.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano()%1e9), "the first `seed`")
	flag.IntVar(&c.seeds, "seeds", 1, "`how many` seeds, one after the other")
	flag.IntVar(&c.machines, "machines", 20, "`how many` machines, at most 40")
	flag.IntVar(&c.events, "events", 120, "`how many` events a seed")
	flag.StringVar(&c.build, "build", "build", "`directory` of what make build made")
	flag.StringVar(&c.dir, "dir", "", "`directory` for disks and logs; a temporary one if empty")
	flag.DurationVar(&c.shrink, "shrink", 15*time.Minute, "how long to shrink a failure")
	flag.Parse()
	if flag.NArg() > 0 || c.machines < 2 || c.machines > 40 || c.seeds < 1 || c.events < 1 {
		flag.Usage()
		return errors.New("see the usage")
	}
	return soak(ctx, c)
}

// soak plays the seeds until one fails.
func soak(ctx context.Context, c config) (err error) {
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "gantry-soak-"); err != nil {
			return err
		}
		defer os.RemoveAll(c.dir)
	}
	if c.build, err = filepath.Abs(c.build); err != nil {
		return err
	}
	began := time.Now()
	for i := range c.seeds {
		seed := c.seed + uint64(i)
		events := generate(seed, c.machines, c.events)
		t := time.Now()
		total, failure := play(ctx, c, seed, events)
		if failure == nil {
			fmt.Printf("seed %d: %d events on %d machines, %v: all held (%.0f s)\n", seed, len(events), c.machines, total, time.Since(t).Seconds())
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Printf("seed %d FAILED after %d seeds that held:\n%v\n", seed, i, failure)
		return report(ctx, c, seed, events, failure)
	}
	fmt.Printf("%d seeds held in %v\n", c.seeds, time.Since(began).Round(time.Second))
	return nil
}

// beMachine is the life of one machine from power-on to power-off.
func beMachine(ctx context.Context, text string) error {
	var spec sim.Spec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	one := make([]byte, 1) // the cable is in when a byte comes
	if _, err := os.Stdin.Read(one); err != nil {
		return fmt.Errorf("machine %s: no cable: %w", spec.Name, err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("machine", spec.Name)
	return sim.Run(ctx, spec, os.Stdin, os.Stdout, log)
}
