// Command dhcpload loads a DHCPv4 server with full exchanges (DISCOVER, OFFER,
// REQUEST, ACK) of many clients, as a relay does, and accounts for every one.
//
// perfdhcp ends near 10,000 exchanges a second. This generator builds packets
// in place and moves them by recvmmsg and sendmmsg, so that on one core it is
// several times ahead of the servers that it measures. It begins exchanges at a
// steady rate whatever comes back, asks once and never again, and prints one
// JSON object.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// options is what to do.
type options struct {
	relay, server netip.AddrPort
	rate          int
	period, wait  time.Duration
	clients       int
	first         int
}

// result is one run's account. Times are in milliseconds.
type result struct {
	Rate      int     `json:"rate"`      // exchanges a second asked for
	Begun     int     `json:"begun"`     // DISCOVERs sent
	Offered   int     `json:"offered"`   // OFFERs got, each answered by a REQUEST
	Completed int     `json:"completed"` // ACKs got until the end of the wait
	InTime    int     `json:"in_time"`   // ACKs got within the period
	Refused   int     `json:"refused"`   // NAKs got
	PerSecond float64 `json:"per_second"`
	Lost      float64 `json:"lost"` // share of the begun that did not complete
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Behind    float64 `json:"behind"` // share of the rate that the generator itself did not reach
}

func main() {
	relay := flag.String("relay", "10.64.0.2:67", "own address: the relay's (giaddr)")
	server := flag.String("server", "10.64.0.1:67", "server's address")
	var o options
	flag.IntVar(&o.rate, "rate", 1000, "exchanges begun a second")
	flag.DurationVar(&o.period, "period", 5*time.Second, "how long")
	flag.DurationVar(&o.wait, "wait", time.Second, "how long to wait for the rest")
	flag.IntVar(&o.clients, "clients", 900000, "different clients, one after the other and around")
	flag.IntVar(&o.first, "first", 0, "number of the first client")
	flag.Parse()
	var err error
	if o.relay, err = netip.ParseAddrPort(*relay); err == nil {
		o.server, err = netip.ParseAddrPort(*server)
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dhcpload:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	l, err := newLoad(o)
	if err != nil {
		return err
	}
	r, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
