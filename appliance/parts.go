package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
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
)

func (c *Config) machinePool() asset.Pool {
	r, err := parseRange(c.DHCP.Machines)
	if err != nil {
		return asset.Pool{} // a proxy gives out no addresses
	}
	return asset.Pool{First: r[0], Last: r[1]}
}

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
	s := dhcp.Subnet{Prefix: p, DNS: addrs(c.DHCP.DNS), NTP: addrs(c.DHCP.NTP), Domain: c.DHCP.Domain,
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

func (c *Config) deployTimes() deploy.Times {
	t := deploy.DefaultTimes()
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

// importInventory reads the inventory file, if there is one.
func importInventory(ctx context.Context, r *asset.Registry, path string, log *slog.Logger) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	f, err := asset.ParseFile(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	done, err := r.Import(ctx, f)
	if errors.Is(err, asset.ErrLocked) {
		log.Warn("inventory file not imported again", "file", path, "error", err)
		return nil
	}
	if err == nil {
		log.Info("inventory imported", "file", path, "added", done.Added, "updated", len(done.Updated))
	}
	return err
}

// machineAlerts raises alerts about machines.
func machineAlerts(desk *alert.Desk) func(ctx context.Context, machine, code, detail, action string) {
	return func(ctx context.Context, machine, code, detail, action string) {
		// The desk logs what it cannot record.
		_ = desk.Raise(ctx, alert.Alert{Code: code, Subject: "machine/" + machine, Detail: detail, Action: action})
	}
}

// requestAlerts raises alerts about requests that need a person.
func requestAlerts(desk *alert.Desk) func(context.Context, change.Request, *change.Problem) {
	return func(ctx context.Context, r change.Request, p *change.Problem) {
		// The desk logs what it cannot record.
		_ = desk.Raise(ctx, alert.Alert{Code: p.Code, Subject: "machine/" + r.Machine, Detail: p.Detail, Action: p.Action, Request: r.ID})
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

// overdue brings the passing of time to the machines.
func overdue(r *asset.Registry, desk *alert.Desk) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			broken, err := r.Overdue(ctx)
			if err != nil {
				return err
			}
			for _, m := range broken {
				err := desk.Raise(ctx, alert.Alert{Code: "overdue", Subject: "machine/" + m.ID, Detail: m.Status.Reason,
					Action: "look at the machine; then release it, or put it into maintenance"})
				if err != nil {
					return err
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(30 * time.Second):
			}
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

// listening is an HTTP server with its listener.
type listening struct {
	server   *http.Server
	listener net.Listener
	tls      *tls.Config
}

// run serves until ctx ends; requests in progress get a moment to finish.
func (l *listening) run(ctx context.Context) error {
	l.server.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	listener := l.listener
	if l.tls != nil {
		listener = tls.NewListener(listener, l.tls)
	}
	go func() { done <- l.server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := l.server.Shutdown(sctx); err != nil {
		return l.server.Close()
	}
	return nil
}

// listenAPI opens the API's socket, and its TLS listener if it has one.
func (c *Config) listenAPI(h http.Handler, log *slog.Logger) ([]*listening, error) {
	if err := removeStale(c.API.Socket); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", c.API.Socket)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if err := os.Chmod(c.API.Socket, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("api: %w", err), l.Close())
	}
	newServer := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), ConnContext: api.UnixContext}
	}
	list := []*listening{{newServer(h), l, nil}}
	t := c.API.TLS
	if t == nil {
		return list, nil
	}
	tokens, err := api.ReadTokens(t.Tokens)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api.tls: %w", err), l.Close())
	}
	tl, err := net.Listen("tcp", t.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api.tls: %w", err), l.Close())
	}
	return append(list, &listening{newServer(tokens.Require(h)), tl,
		&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}), nil
}

// removeStale removes the socket of an appliance that was killed; one that is
// in use is an error.
func removeStale(path string) error {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("api: another appliance is listening on %s", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("api: %w", err)
	}
	return nil
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
