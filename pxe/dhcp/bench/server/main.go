// Command server runs the DHCP server alone on one interface, for measuring it
// beside others and for crash tests: full durability, dynamic addresses for
// everyone.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

type options struct {
	dir, iface, addr, subnet, pool, pprof string
	lease                                 time.Duration
	commit                                time.Duration
	fill                                  int
	fillOnly, boot                        bool
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "state directory")
	flag.StringVar(&o.iface, "interface", "", "network device")
	flag.StringVar(&o.addr, "addr", "10.64.0.1", "own address")
	flag.StringVar(&o.subnet, "subnet", "10.64.0.0/12", "network")
	flag.StringVar(&o.pool, "pool", "10.65.0.0-10.79.255.254", "dynamic range")
	flag.StringVar(&o.pprof, "pprof", "", "address for profiles")
	flag.DurationVar(&o.lease, "lease", 24*time.Hour, "lease time")
	flag.DurationVar(&o.commit, "commit", 0, "least time between commits; 0 is the default")
	flag.IntVar(&o.fill, "fill", 0, "store this many leases of other clients before the start, from the pool's end")
	flag.BoolVar(&o.fillOnly, "fill-only", false, "end after that")
	flag.BoolVar(&o.boot, "boot", false, "bring whatever network-boots to its script")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if o.pprof != "" {
		go func() { log.Error("pprof", "error", http.ListenAndServe(o.pprof, nil)) }()
	}
	cfg, err := config(o)
	if err != nil {
		return err
	}
	engine, err := pebblekv.Open(o.dir, pebblekv.Options{Logger: log})
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, engine, log)
	if err != nil {
		return err
	}
	defer db.Close()
	raw, err := db.Raw("dhcp")
	if err != nil {
		return err
	}
	journal := dhcp.NewStoreJournal(raw)
	if err := fill(ctx, journal, cfg.Subnets[0].Pools[0].Last, o.fill, o.lease); err != nil {
		return err
	}
	if o.fillOnly {
		return nil
	}
	s, err := dhcp.New(ctx, cfg, everyone{o.boot}, journal, nil, log)
	if err != nil {
		return err
	}
	err = s.Serve(ctx)
	st := s.Stats()
	log.Info("served", "received", st.Received.Load(), "offers", st.Offers.Load(), "acks", st.Acks.Load(), "naks", st.Naks.Load(),
		"commits", st.Commits.Load(), "limited", st.Limited.Load(), "exhausted", st.Exhausted.Load(), "unsent", st.Unsent.Load())
	return err
}

func config(o options) (dhcp.Config, error) {
	first, last, _ := strings.Cut(o.pool, "-")
	var r dhcp.Range
	var addr netip.Addr
	var net netip.Prefix
	for _, p := range []struct {
		text string
		into interface{ UnmarshalText([]byte) error }
	}{{first, &r.First}, {last, &r.Last}, {o.addr, &addr}, {o.subnet, &net}} {
		if err := p.into.UnmarshalText([]byte(p.text)); err != nil {
			return dhcp.Config{}, err
		}
	}
	return dhcp.Config{Interface: o.iface, Addr: addr, CommitInterval: o.commit, Subnets: []dhcp.Subnet{{Prefix: net, Pools: []dhcp.Range{r},
		Routers: []netip.Addr{addr}, DNS: []netip.Addr{addr}, LeaseTime: o.lease, BootLeaseTime: o.lease}}}, nil
}

// fill stores n leases, held for the lease time, downwards from last.
func fill(ctx context.Context, j dhcp.Journal, last netip.Addr, n int, lease time.Duration) error {
	const group = 10000
	expiry := time.Now().Add(lease)
	records := make([]dhcp.Record, 0, group)
	for i := range n {
		mac := dhcp.MAC{0x06, 0xff, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		records = append(records, dhcp.Record{Addr: last, MAC: mac, State: dhcp.Bound, Expiry: expiry})
		last = last.Prev()
		if len(records) == group || i == n-1 {
			if err := j.Commit(ctx, records); err != nil {
				return err
			}
			records = records[:0]
		}
	}
	return nil
}

// everyone is an oracle that knows no machine, and boots all or none.
type everyone struct{ boot bool }

func (everyone) Host(dhcp.MAC) (dhcp.Reservation, bool) { return dhcp.Reservation{}, false }
func (everyone) Reserved(netip.Addr) bool               { return false }

func (e everyone) Want(dhcp.MAC) boot.Want {
	if e.boot {
		return boot.WantScript
	}
	return boot.WantNothing
}
