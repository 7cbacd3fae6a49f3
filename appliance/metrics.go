package appliance

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/tftp"
)

// podMetrics measures the pod when it is asked.
type podMetrics struct {
	assets *asset.Registry
	book   *change.Book
	alerts *alert.Desk

	machines, open, alertsOpen *prometheus.Desc
}

func newPodMetrics(assets *asset.Registry, book *change.Book, alerts *alert.Desk) *podMetrics {
	return &podMetrics{assets: assets, book: book, alerts: alerts,
		machines:   prometheus.NewDesc("gantry_machines", "Machines of the pod by the state of their life.", []string{"state"}, nil),
		open:       prometheus.NewDesc("gantry_requests_open", "Change requests that have not ended, by kind.", []string{"kind"}, nil),
		alertsOpen: prometheus.NewDesc("gantry_alerts_open", "Alerts that nobody has resolved.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (p *podMetrics) Describe(c chan<- *prometheus.Desc) {
	c <- p.machines
	c <- p.open
	c <- p.alertsOpen
}

// Collect implements prometheus.Collector.
func (p *podMetrics) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	machines, err := p.assets.Machines(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(p.machines, err)
		return
	}
	states := map[machine.State]int{}
	for _, m := range machines {
		states[m.Status.State]++
	}
	for _, s := range machine.States() {
		gauge(p.machines, states[s], string(s))
	}
	open, err := p.book.Open(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(p.open, err)
		return
	}
	kinds := map[change.Kind]int{}
	for _, r := range open {
		kinds[r.Kind]++
	}
	for k, n := range kinds {
		gauge(p.open, n, string(k))
	}
	alerts, err := p.alerts.List(ctx, false)
	if err != nil {
		c <- prometheus.NewInvalidMetric(p.alertsOpen, err)
		return
	}
	gauge(p.alertsOpen, len(alerts))
}

// newMetrics makes the appliance's registry of metrics.
func newMetrics(pod *podMetrics, leases *dhcp.Server, files *tftp.Server) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), pod)
	d := leases.Stats()
	for name, c := range map[string]struct {
		help string
		v    *atomic.Uint64
	}{
		"received": {"Packets taken.", &d.Received}, "offers": {"DHCPOFFER sent.", &d.Offers}, "acks": {"DHCPACK sent.", &d.Acks},
		"naks": {"DHCPNAK sent.", &d.Naks}, "declines": {"DHCPDECLINE taken.", &d.Declines}, "malformed": {"Packets that cannot be read.", &d.Malformed},
		"limited": {"Packets beyond a client's rate.", &d.Limited}, "exhausted": {"Clients for whom no address was left.", &d.Exhausted},
		"commits": {"Synced commits of leases.", &d.Commits},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gantry_dhcp_" + name + "_total", Help: c.help},
			func() float64 { return float64(c.v.Load()) }))
	}
	for name, c := range map[string]struct {
		help string
		v    func(tftp.Stats) uint64
	}{
		"requests":  {"Requests taken.", func(s tftp.Stats) uint64 { return s.Requests }},
		"completed": {"Transfers completed.", func(s tftp.Stats) uint64 { return s.Completed }},
		"failed":    {"Transfers that began and did not complete.", func(s tftp.Stats) uint64 { return s.Failed }},
		"bytes":     {"Bytes of files that clients acknowledged.", func(s tftp.Stats) uint64 { return s.Bytes }},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gantry_tftp_" + name + "_total", Help: c.help},
			func() float64 { return float64(c.v(files.Stats())) }))
	}
	return r
}
