// Boot measures a machine's way from its outlet to an imaged disk and to SSH,
// ours beside the field's usual chain: dnsmasq, nginx, iPXE, a busybox
// initramfs and `wget | zstd | dd`. Both run in the same lab: the same QEMU
// options, firmware, wire and outlet, by turns. It prints each phase and
// appends the medians to a file of JSON lines:
//
//   - boot-script: seconds from the first DHCPDISCOVER to the first byte of
//     HTTP, as seen on the wire (BIOS).
//   - power-on-to-imaged, and -full, -uefi, -full-uefi: seconds from the outlet
//     to the image on the disk. Ours is read back and compared by the machine
//     itself within that time; the chain's is not.
//   - power-on-to-ssh: seconds from the outlet until the appliance has checked
//     the server's host key over SSH; it has no peer.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/lab/machine"
)

// options are the flags.
type options struct {
	work, out, bin, netboot, peer string
	images                        map[string]string
	reps                          int
}

// figure is one line of the result.
type figure struct {
	Name  string  `json:"name"`
	Ours  float64 `json:"ours"`
	Peer  float64 `json:"peer"`
	Ratio float64 `json:"ratio"`
	Goal  float64 `json:"goal"`
	Unit  string  `json:"unit"`
}

// pairing is one comparison: a firmware and an image.
type pairing struct {
	firmware machine.Firmware
	image    string
	name     string
	goal     float64 // of ours over the chain's; 0 is none
}

// pairings and what each yields: name is that of power-on-to-imaged.
var pairings = [...]pairing{
	{machine.BIOS, "mini", "power-on-to-imaged", 0.4},
	{machine.BIOS, "full", "power-on-to-imaged-full", 0.25},
	{machine.UEFI, "mini", "power-on-to-imaged-uefi", 0},
	{machine.UEFI, "full", "power-on-to-imaged-full-uefi", 0},
}

func main() {
	o := options{images: map[string]string{}}
	flag.StringVar(&o.work, "work", "", "`directory` for the labs and the chain's files")
	flag.StringVar(&o.out, "out", "", "`file` to append results to")
	flag.StringVar(&o.bin, "bin", "build/bin", "`directory` of the programs")
	flag.StringVar(&o.netboot, "netboot", "build/netboot", "`directory` of the netboot system")
	flag.StringVar(&o.peer, "peer", "", "`directory` of the chain's files, made by chain.sh")
	flag.IntVar(&o.reps, "reps", 3, "runs of each")
	only := flag.String("only", "", "`name` of the one figure to measure")
	flag.Func("image", "`NAME=FILE`: mini or full, a raw image", func(s string) error {
		name, file, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("want NAME=FILE")
		}
		abs, err := filepath.Abs(file)
		o.images[name] = abs
		return err
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, *only); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string) error {
	for _, dir := range []*string{&o.bin, &o.netboot, &o.work, &o.peer} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	for _, p := range pairings {
		if !p.wanted(only) {
			continue
		}
		r, err := o.compare(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := write(o.out, p.figures(r, only)); err != nil {
			return err
		}
	}
	return nil
}

// wanted says whether the pairing yields the figure that is asked for.
func (p pairing) wanted(only string) bool {
	return only == "" || only == p.name || p.basic() && (only == "boot-script" || only == "power-on-to-ssh")
}

// basic is the pairing that boot-script and power-on-to-ssh are taken from.
func (p pairing) basic() bool { return p.firmware == machine.BIOS && p.image == "mini" }

// result is the seconds of each run.
type result struct {
	ours, peer []timing
}

// timing is one run, in seconds.
type timing struct {
	script, imaged, ssh float64
}

// compare runs both by turns, so that a machine that slows down slows both.
func (o options) compare(ctx context.Context, p pairing) (r result, err error) {
	for i := range o.reps {
		peer, err := o.runChain(ctx, p)
		if err != nil {
			return r, fmt.Errorf("the chain: %w", err)
		}
		ours, err := o.runOurs(ctx, p)
		if err != nil {
			return r, fmt.Errorf("ours: %w", err)
		}
		fmt.Printf("%s run %d: chain %.1f s, ours %.1f s (script %.2f and %.2f s, ssh %.1f s), load %s\n",
			p.name, i+1, peer.imaged, ours.imaged, peer.script, ours.script, ours.ssh, load())
		r.ours, r.peer = append(r.ours, ours), append(r.peer, peer)
	}
	return r, nil
}

// figures are the pairing's lines.
func (p pairing) figures(r result, only string) []figure {
	of := func(name string, goal float64, get func(timing) float64) figure {
		o, c := median(r.ours, get), median(r.peer, get)
		f := figure{Name: name, Ours: o, Peer: c, Goal: goal, Unit: "s"}
		if c > 0 {
			f.Ratio = o / c
		}
		return f
	}
	all := []figure{of(p.name, p.goal, func(t timing) float64 { return t.imaged })}
	if p.basic() {
		all = append(all, of("boot-script", 0.05, func(t timing) float64 { return t.script }),
			of("power-on-to-ssh", 0, func(t timing) float64 { return t.ssh }))
	}
	return slices.DeleteFunc(all, func(f figure) bool { return only != "" && f.Name != only })
}

func median(ts []timing, get func(timing) float64) float64 {
	var v []float64
	for _, t := range ts {
		v = append(v, get(t))
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func write(path string, figures []figure) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range figures {
		fmt.Printf("%s: ours %.2f, peer %.2f, ratio %.3f, goal %.2f, %s\n", line.Name, line.Ours, line.Peer, line.Ratio, line.Goal, line.Unit)
		if err := json.NewEncoder(f).Encode(line); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// load is the machine's load average, to be read beside the seconds.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
