// Command measure compares the DHCP server with Kea 2.2 in one run on one
// machine, each alone in a network namespace on the first processor, loaded by
// dhcpload from another on the second. It prints what it does and appends the
// ratios to a file of JSON lines:
//
//   - dhcp-durable: most full exchanges a second with less than 1 % lost, every
//     lease synced, over Kea's with its memfile, which is never synced.
//   - dhcp-cpu: processor time per exchange over Kea's, at the same rate.
//   - dhcp-held: exchanges a second with a million leases held over those from
//     empty, both offered twice what can be done.
//   - dhcp-overload: exchanges a second when twice the highest rate is offered,
//     over that rate.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

func main() {
	work := flag.String("work", "", "directory with server and dhcpload, for state")
	out := flag.String("out", "", "file to append results to")
	only := flag.String("only", "", "`name` of the one figure to measure")
	period := flag.Duration("period", 4*time.Second, "length of one load")
	flag.Parse()
	if err := run(*work, *out, *only, *period); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
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

func run(work, out, only string, period time.Duration) error {
	b, err := newBench(work, period)
	if err != nil {
		return err
	}
	defer b.close()
	ours, kea := peer{"gantry", b.ours(0)}, peer{"kea", b.kea()}
	wanted := func(names ...string) bool { return only == "" || slices.Contains(names, only) }
	oursMax, err := b.highest(ours, 8000)
	if err != nil {
		return err
	}
	var figures []figure
	if wanted("dhcp-durable", "dhcp-cpu") {
		if figures, err = b.besideKea(ours, kea, oursMax); err != nil {
			return err
		}
	}
	if wanted("dhcp-overload", "dhcp-held") {
		more, err := b.overloaded(ours, oursMax)
		if err != nil {
			return err
		}
		figures = append(figures, more...)
	}
	figures = slices.DeleteFunc(figures, func(f figure) bool { return !wanted(f.Name) })
	return write(out, figures)
}

// besideKea is the highest rate of both, and what an exchange costs each at nine
// tenths of Kea's.
func (b *bench) besideKea(ours, kea peer, oursMax float64) ([]figure, error) {
	keaMax, err := b.highest(kea, 2000)
	if err != nil {
		return nil, err
	}
	at := int(keaMax * 0.9)
	oursCPU, err := b.median(ours, at, sample.cpu)
	if err != nil {
		return nil, err
	}
	keaCPU, err := b.median(kea, at, sample.cpu)
	if err != nil {
		return nil, err
	}
	return []figure{{"dhcp-durable", oursMax, keaMax, oursMax / keaMax, 2, "exchanges/s"},
		{"dhcp-cpu", oursCPU, keaCPU, oursCPU / keaCPU, 0.35, "µs/exchange"}}, nil
}

// overloaded offers twice the highest rate, so that it is the server that bounds
// what is done, with no lease held and with a million.
func (b *bench) overloaded(ours peer, oursMax float64) ([]figure, error) {
	over, err := b.median(ours, int(2*oursMax), sample.rate)
	if err != nil {
		return nil, err
	}
	held, err := b.median(peer{"gantry, a million held", b.ours(1_000_000)}, int(2*oursMax), sample.rate)
	if err != nil {
		return nil, err
	}
	return []figure{{"dhcp-held", held, over, held / over, 0.9, "exchanges/s"},
		{"dhcp-overload", over, oursMax, over / oursMax, 0.95, "exchanges/s"}}, nil
}

func write(path string, figures []figure) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range figures {
		fmt.Printf("%-14s ours %8.1f  peer %8.1f  ratio %.2f  goal %.2f  %s\n", line.Name, line.Ours, line.Peer, line.Ratio, line.Goal, line.Unit)
		if err := json.NewEncoder(f).Encode(line); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// highest searches the highest rate, in exchanges a second, at which less than
// 1 % is lost: doubled from start, then halved in between, to within 6 %. A
// rate has to be passed twice in five loads: other work on the machine makes a
// load fail that would have passed, and never the other way round.
func (b *bench) highest(p peer, start int) (float64, error) {
	low, high := 0, 0
	for rate := start; high == 0 || float64(high-low)/float64(high) > 0.06; {
		ok, err := b.passes(p, rate)
		if err != nil {
			return 0, err
		}
		if ok {
			low = rate
		} else {
			high = rate
		}
		if high == 0 {
			rate *= 2
		} else {
			rate = (low + high) / 2
		}
		if rate < 50 {
			return 0, fmt.Errorf("%s does not serve 50 exchanges a second", p.name)
		}
	}
	return float64(low), nil
}

func (b *bench) passes(p peer, rate int) (bool, error) {
	yes, no := 0, 0
	for yes < 2 && no < 4 {
		s, err := b.load(p, rate)
		if err != nil {
			return false, err
		}
		if s.Lost < 0.01 && s.Behind < mostBehind && s.PerSecond > 0.97*float64(rate) {
			yes++
		} else {
			no++
		}
	}
	return yes == 2, nil
}

// mostBehind is the share of packets that the generator may be late with; beyond
// it the load says nothing of the server.
const mostBehind = 0.02

// median returns the middle of three loads in which the generator kept up, of at
// most nine.
func (b *bench) median(p peer, rate int, of func(sample) float64) (float64, error) {
	var all []float64
	for range 9 {
		s, err := b.load(p, rate)
		if err != nil {
			return 0, err
		}
		if s.Behind > mostBehind {
			continue
		}
		if all = append(all, of(s)); len(all) == 3 {
			slices.SortFunc(all, cmp.Compare[float64])
			return all[1], nil
		}
	}
	return 0, fmt.Errorf("%s: the generator kept up with %d/s in %d of 9 loads: the machine has other work", p.name, rate, len(all))
}
