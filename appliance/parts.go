package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/plugins/host"
	pxeboot "github.com/gantry-pod/gantry/pxe/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/link"
	"github.com/gantry-pod/gantry/store"
)

func (c *Config) network() deploy.Network {
	n := deploy.Network{Prefix: netip.MustParsePrefix(c.Provisioning.Address).Masked(), DNS: addrs(c.DHCP.DNS)}
	if a, err := netip.ParseAddr(c.DHCP.Router); err == nil {
		n.Gateway = a
	}
	return n
}

func addrs(list []string) (out []netip.Addr) {
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// ipv4 leaves out what DHCPv4's options cannot hold: machines hear of the others
// when their system is configured.
func ipv4(list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return !a.Is4() })
}

// dhcp is the DHCP server's configuration on the interface called name.
func (c *Config) dhcp(name string) dhcp.Config {
	prefix := netip.MustParsePrefix(c.Provisioning.Address)
	d := dhcp.Config{Interface: name, Addr: prefix.Addr(), Proxy: c.DHCP.Proxy, Boot: pxeboot.Server{Addr: prefix.Addr(), HTTPPort: c.HTTP.Port}}
	if c.DHCP.Proxy {
		return d
	}
	d.Subnets = []dhcp.Subnet{c.subnet(prefix.Masked(), c.DHCP.Pool, c.DHCP.Router)}
	for _, r := range c.DHCP.Relayed {
		if p, err := netip.ParsePrefix(r.Prefix); err == nil {
			d.Subnets = append(d.Subnets, c.subnet(p.Masked(), r.Pool, r.Router))
		}
	}
	return d
}

func (c *Config) subnet(p netip.Prefix, pool, router string) dhcp.Subnet {
	s := dhcp.Subnet{Prefix: p, DNS: ipv4(addrs(c.DHCP.DNS)), NTP: ipv4(addrs(c.DHCP.NTP)), Domain: c.DHCP.Domain,
		Routers: addrs([]string{router}), LeaseTime: time.Duration(c.DHCP.Lease)}
	if r, err := parseRange(pool); err == nil {
		s.Pools = []dhcp.Range{{First: r[0], Last: r[1]}}
	}
	return s
}

func (c *Config) powerLimits() power.Limits {
	l := power.DefaultLimits()
	l.Settle, l.OffFor = time.Duration(c.Times.Settle), time.Duration(c.Times.OffFor)
	return l
}

// agentTimes has an agent speak several times within the time after which it
// counts as lost, whatever it is doing.
func (c *Config) agentTimes() agent.Times {
	t := agent.DefaultTimes()
	t.Lost = time.Duration(c.Times.Lost)
	t.ReportEvery, t.Poll = min(t.ReportEvery, t.Lost/4), min(t.Poll, t.Lost/3)
	return t
}

// deployTimes gives the power steps at least what the outlets' own times add up
// to on a machine with two feeds.
func (c *Config) deployTimes() deploy.Times {
	t := deploy.DefaultTimes()
	t.Power = max(t.Power, c.powerLimits().Restart(2)+30*time.Second)
	t.Boot, t.Image, t.Wipe = time.Duration(c.Times.Boot), time.Duration(c.Times.Image), time.Duration(c.Times.Wipe)
	t.Verify, t.LLDP = time.Duration(c.Times.Verify), time.Duration(c.Times.LLDP)
	return t
}

// sinks are who is told of alerts besides the log.
func (c *Config) sinks() (list []alert.Sink, err error) {
	if w := c.Alerts.Webhook; w != nil {
		key, err := readSecret(w.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("alerts.webhook: %w", err)
		}
		list = append(list, &alert.Webhook{URL: w.URL, Key: key, Client: &http.Client{Timeout: 30 * time.Second}})
	}
	if m := c.Alerts.SMTP; m != nil {
		password, err := readSecret(m.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("alerts.smtp: %w", err)
		}
		list = append(list, &alert.Mail{Server: m.Server, From: m.From, To: m.To, User: m.User, Password: password, Pod: c.Pod})
	}
	return list, nil
}

// readSecret reads the first line of a file; no file is no secret.
func readSecret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	line, _, _ := strings.Cut(string(b), "\n")
	return line, err
}

// machineAlerts posts alerts about machines that whoever is on the network can
// cause.
func machineAlerts(desk *alert.Desk) func(ctx context.Context, machine, code, detail, action string) {
	return func(_ context.Context, machine, code, detail, action string) {
		desk.Post(alert.Alert{Code: code, Subject: "machine/" + machine, Detail: detail, Action: action})
	}
}

// requestAlerts raises alerts about requests that need a person.
func requestAlerts(desk *alert.Desk) change.Alert {
	return func(tx *store.Tx, r change.Request, p *change.Problem) error {
		return desk.RaiseIn(tx, alert.Alert{Code: p.Code, Subject: cmp.Or(p.Subject, "machine/"+r.Machine), Detail: p.Detail, Action: p.Action, Request: r.ID})
	}
}

// inspectFound inspects machines that were discovered.
func inspectFound(runner *change.Runner, d *deploy.Actuator, log *slog.Logger) func(context.Context, asset.Machine) {
	return func(ctx context.Context, m asset.Machine) {
		if m.Inventory != nil || m.Lock != "" {
			return
		}
		ask, admit := d.AskInspect(m.ID)
		ask.By = "discovery"
		if _, err := runner.Submit(ctx, ask, admit); err != nil && !errors.Is(err, asset.ErrLocked) {
			log.Warn("discovered machine not inspected", "machine", m.ID, "error", err)
		}
	}
}

func driverStatus(h *host.Host) func() []api.Driver {
	return func() []api.Driver {
		out := []api.Driver{}
		for _, d := range h.Drivers() {
			out = append(out, api.Driver{Name: d.Name, Version: d.Version, Kinds: d.Kinds, State: string(d.State), Restarts: d.Restarts, Error: d.LastError})
		}
		return out
	}
}

// notifyReady tells systemd that the appliance is up (sd_notify(3)).
func notifyReady() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer c.Close()
	// systemd times out and says so if this does not arrive.
	_, _ = c.Write([]byte("READY=1"))
}

// link is the provisioning interface as declared.
func (c *Config) link() link.Spec {
	p := c.Provisioning
	return link.Spec{Device: p.Device, Parent: p.Parent, VLAN: p.VLAN, MTU: p.MTU, Address: netip.MustParsePrefix(p.Address)}
}

// linkChanges logs what becomes of the provisioning interface.
func linkChanges(log *slog.Logger) func(link.State) {
	return func(s link.State) {
		if s.Err != nil {
			log.Error("provisioning interface is not as declared", "error", s.Err)
			return
		}
		log.Info("provisioning interface", "state", fmt.Sprintf("%+v", s.Link))
	}
}
