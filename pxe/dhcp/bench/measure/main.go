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
	"errors"
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
	// Note is what the figure was not measured as; empty if it was.
	Note string `json:"note,omitempty"`
}

func run(work, out, only string, period time.Duration) error {
	b, err := newBench(work, period)
	if err != nil {
		return err
	}
	defer b.close()
	m := measurer{load: b.load, ours: peer{"gantry", b.ours(0)}, held: peer{"gantry, a million held", b.ours(1_000_000)},
		kea: peer{"kea", b.kea()}, only: only, write: func(f figure) error { return write(out, f) }}
	return m.all()
}

// measurer measures figures by loads of servers. Each figure is written as soon as
// it is known: what fails later does not lose it.
type measurer struct {
	load            func(p peer, rate int) (sample, error)
	ours, held, kea peer
	only            string // the one figure wanted; empty: all
	write           func(figure) error
}

func (m *measurer) wanted(names ...string) bool {
	return m.only == "" || slices.Contains(names, m.only)
}

func (m *measurer) tell(f figure) error {
	if !m.wanted(f.Name) {
		return nil
	}
	f.Ratio = f.Ours / f.Peer
	return m.write(f)
}

func (m *measurer) all() error {
	oursMax, err := m.highest(m.ours, 8000)
	if err != nil {
		return err
	}
	var errs []error
	if m.wanted("dhcp-durable", "dhcp-cpu") {
		errs = append(errs, m.besideKea(oursMax))
	}
	if m.wanted("dhcp-overload", "dhcp-held") {
		errs = append(errs, m.overloaded(oursMax))
	}
	return errors.Join(errs...)
}

// besideKea is the highest rate of both, and what an exchange costs each at nine
// tenths of Kea's.
func (m *measurer) besideKea(oursMax float64) error {
	keaMax, err := m.highest(m.kea, 2000)
	if err != nil {
		return fmt.Errorf("dhcp-durable, dhcp-cpu: %w", err)
	}
	if err := m.tell(figure{Name: "dhcp-durable", Ours: oursMax, Peer: keaMax, Goal: 2, Unit: "exchanges/s"}); err != nil {
		return err
	}
	at := int(keaMax * 0.9)
	oursCPU, err1 := m.median(m.ours, at, sample.cpu)
	keaCPU, err2 := m.median(m.kea, at, sample.cpu)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("dhcp-cpu: %w", err)
	}
	return m.tell(figure{Name: "dhcp-cpu", Ours: oursCPU, Peer: keaCPU, Goal: 0.35, Unit: "µs/exchange"})
}

// overloaded offers twice the highest rate, so that it is the server that bounds
// what is done, with no lease held and with a million; or as much less as the
// generator can do, and the figures then say so.
func (m *measurer) overloaded(oursMax float64) error {
	told := false
	for times := 2.0; ; times -= 0.25 {
		at, note := int(times*oursMax), ""
		if times < 2 {
			note = fmt.Sprintf("offered %.2f times the highest rate: the generator does no more", times)
		}
		over, err := m.median(m.ours, at, sample.rate)
		if err == nil && !told {
			told = true
			if err := m.tell(figure{Name: "dhcp-overload", Ours: over, Peer: oursMax, Goal: 0.95, Unit: "exchanges/s", Note: note}); err != nil {
				return err
			}
		}
		var held float64
		if err == nil && m.wanted("dhcp-held") {
			held, err = m.median(m.held, at, sample.rate)
		}
		switch {
		case errors.Is(err, errBehind) && times > leastOverload:
			fmt.Printf("%v: less is offered\n", err)
			continue
		case err != nil:
			return fmt.Errorf("dhcp-overload, dhcp-held: %w", err)
		case !m.wanted("dhcp-held"):
			return nil
		}
		return m.tell(figure{Name: "dhcp-held", Ours: held, Peer: over, Goal: 0.9, Unit: "exchanges/s", Note: note})
	}
}

// leastOverload is how many times the highest rate is still an overload.
const leastOverload = 1.25

func write(path string, line figure) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	fmt.Printf("%-14s ours %8.1f  peer %8.1f  ratio %.2f  goal %.2f  %s  %s\n", line.Name, line.Ours, line.Peer, line.Ratio, line.Goal, line.Unit, line.Note)
	return errors.Join(json.NewEncoder(f).Encode(line), f.Close())
}

// highest searches the highest rate, in exchanges a second, at which less than
// 1 % is lost: doubled from start, then halved in between, to within 6 %. A
// rate has to be passed twice in five loads: other work on the machine makes a
// load fail that would have passed, and never the other way round.
func (m *measurer) highest(p peer, start int) (float64, error) {
	low, high := 0, 0
	for rate := start; high == 0 || float64(high-low)/float64(high) > 0.06; {
		ok, err := m.passes(p, rate)
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

func (m *measurer) passes(p peer, rate int) (bool, error) {
	yes, no := 0, 0
	for yes < 2 && no < 4 {
		s, err := m.load(p, rate)
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

// errBehind: the machine has other work, or a generator as fast as the server.
var errBehind = errors.New("the generator kept up with")

// median returns the middle of three loads in which the generator kept up, of at
// most nine.
func (m *measurer) median(p peer, rate int, of func(sample) float64) (float64, error) {
	var all []float64
	for range 9 {
		s, err := m.load(p, rate)
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
	return 0, fmt.Errorf("%s: %w %d/s in %d of 9 loads", p.name, errBehind, rate, len(all))
}
