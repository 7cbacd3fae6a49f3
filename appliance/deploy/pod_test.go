package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// pod is an appliance's working parts over a real store, with one machine
// behind a PDU. It runs in a synctest bubble: hours pass in milliseconds.
type pod struct {
	t   *testing.T
	dir string
	box *box
	net *wire

	db     *store.DB
	assets *asset.Registry
	book   *change.Book
	deploy *Actuator
	runner *change.Runner

	mu      sync.Mutex // guards the rest
	guide   *boot.Guide
	handler http.Handler
	up      context.Context // ends with this appliance
	down    context.CancelFunc
	serving sync.WaitGroup
	alerts  []string
}

const podFile = `
pdus: [{name: p1, driver: test, address: here}]
machines: [{name: m1, macs: ['52:54:00:00:00:01'], power: [{pdu: p1, outlet: '1'}]}]
`

// inPod runs a test with a pod whose machine was inspected and wiped, and is
// available.
func inPod(t *testing.T, test func(t *testing.T, p *pod)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pod{t: t, dir: t.TempDir()}
		p.box = newBox(p)
		p.net = newWire(http.HandlerFunc(p.serve))
		p.open()
		f, err := asset.ParseFile([]byte(podFile))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.assets.Import(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		p.set(func(m *asset.Machine) {
			m.Inventory, m.Wiped = goodInventory(), goodWipe()
			m.Status = machine.Status{State: machine.Available, Since: time.Now()}
		})
		defer func() {
			p.box.power(false)
			p.close()
			p.net.close()
		}()
		test(t, p)
	})
}

func goodInventory() *job.Inventory {
	return &job.Inventory{CPU: job.CPU{Arch: "amd64"}, Memory: 2 << 30, Firmware: "bios",
		Disks: []job.Disk{{Path: "/dev/vda", Serial: "S1", Bytes: 10 << 30}, {Path: "/dev/sdb", Bytes: 100 << 30, Removable: true}}}
}

// goodWipe are the certificates of goodInventory's fixed disk.
func goodWipe() []job.WipedDisk {
	return []job.WipedDisk{{Path: "/dev/vda", Serial: "S1", Bytes: 10 << 30, Method: "discard", Verified: "full"}}
}

// open starts an appliance over the pod's store, as a new process would.
func (p *pod) open() {
	p.t.Helper()
	e, err := pebblekv.Open(filepath.Join(p.dir, "store"), pebblekv.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	at, ct, gt := asset.NewTables(), change.NewTables(), agent.NewTables()
	if p.db, err = store.Open(p.t.Context(), e, log, slices.Concat(at.Schemas(), ct.Schemas(), gt.Schemas())...); err != nil {
		p.t.Fatal(err)
	}
	vault, err := asset.OpenVault(filepath.Join(p.dir, "key"))
	if err != nil {
		p.t.Fatal(err)
	}
	logs, err := agent.NewLogbook(filepath.Join(p.dir, "logs"), time.Now)
	if err != nil {
		p.t.Fatal(err)
	}
	pool := asset.Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.20")}
	p.assets = asset.NewRegistry(p.db, at, vault, pool, time.Now)
	agents := agent.New(p.db, gt, p.assets, logs, agent.DefaultTimes(),
		func(_ context.Context, _, code, _, _ string) { p.alert(code) }, log, time.Now)
	p.deploy = &Actuator{Assets: p.assets, Agents: agents, Power: power.New(p.box, power.DefaultLimits(), log), Images: shelf{},
		Sightings: boot.NewSightings(time.Now), Network: Network{Prefix: netip.MustParsePrefix("10.0.0.0/24")},
		Times: DefaultTimes(), Dial: p.box.dial, Now: time.Now, Log: log}
	p.book = change.NewBook(p.db, ct, p.assets, time.Now)
	p.runner = change.NewRunner(p.book, p.deploy.Plans(), change.NewLive(time.Now),
		func(_ *store.Tx, _ change.Request, q *change.Problem) error { p.alert(q.Code); return nil }, log)
	p.mu.Lock()
	p.handler = agents.Handler()
	p.up, p.down = context.WithCancel(context.Background())
	p.guide = boot.NewGuide(p.assets, agents, boot.DiscoverIgnore, "http://10.0.0.1", nil, log)
	p.mu.Unlock()
	if err := p.runner.Resume(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) close() {
	p.t.Helper()
	p.mu.Lock()
	p.handler, p.guide = nil, nil
	p.down()
	p.mu.Unlock()
	p.serving.Wait()
	p.runner.Close()
	if err := p.db.Close(); err != nil {
		p.t.Error(err)
	}
}

// restart stops the appliance, leaves the machine alone for a while, and starts
// another.
func (p *pod) restart(away time.Duration) {
	p.t.Helper()
	p.close()
	time.Sleep(away)
	p.open()
}

// serve is the boot HTTP server: nobody is there while the appliance restarts.
func (p *pod) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h, up := p.handler, p.up
	if h == nil {
		p.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	p.serving.Add(1)
	p.mu.Unlock()
	defer p.serving.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	h.ServeHTTP(w, r.WithContext(ctx))
}

func (p *pod) alert(code string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alerts = append(p.alerts, code)
}

func (p *pod) wantAlerts(want ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.alerts, want) {
		p.t.Errorf("alerts %v, want %v", p.alerts, want)
	}
}

func (p *pod) machine() asset.Machine {
	p.t.Helper()
	m, err := p.assets.Machine(p.t.Context(), "m1")
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *pod) set(fn func(m *asset.Machine)) {
	p.t.Helper()
	if err := p.assets.Change(p.t.Context(), "m1", func(_ *store.Tx, m *asset.Machine) error { fn(m); return nil }); err != nil {
		p.t.Fatal(err)
	}
}

// wantMachine checks where the machine came to stand, and that nothing has it.
func (p *pod) wantMachine(want machine.State) {
	p.t.Helper()
	m := p.machine()
	if m.Status.State != want || m.Lock != "" {
		p.t.Errorf("machine is %s (%s), lock %q; want %s", m.Status.State, m.Status.Reason, m.Lock, want)
	}
	if m.Former != (machine.Status{}) {
		p.t.Errorf("at rest the machine remembers that it was %s", m.Former.State)
	}
	if m.Dirty && m.Status.State == machine.Available {
		p.t.Error("a machine that was not wiped is available")
	}
}

// submit asks for something.
func (p *pod) submit(ask change.Ask, admit change.Admit) change.Request {
	p.t.Helper()
	ask.By = "test"
	r, err := p.runner.Submit(p.t.Context(), ask, admit)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *pod) submitDeploy() change.Request {
	p.t.Helper()
	ask, admit, err := p.deploy.AskDeploy(p.t.Context(), "m1", Spec{Image: "debian", SSHKeys: []string{userKey}})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.submit(ask, admit)
}

// await returns the request once it has ended.
func (p *pod) await(id string) change.Request {
	p.t.Helper()
	for began := time.Now(); time.Since(began) < 48*time.Hour; time.Sleep(time.Second) {
		r, err := p.book.Get(p.t.Context(), id)
		if err != nil {
			p.t.Fatal(err)
		}
		if r.Status.Ended() {
			synctest.Wait() // the alert follows the record
			return r
		}
	}
	p.t.Fatalf("request %s does not end", id)
	return change.Request{}
}

// under lets time pass, within which the request must not end.
func (p *pod) under(r change.Request, d time.Duration) {
	p.t.Helper()
	time.Sleep(d)
	now, err := p.book.Get(p.t.Context(), r.ID)
	if err != nil || now.Status.Ended() {
		p.t.Fatalf("after %v the %s is %s already, %v", d, r.Kind, now.Status, err)
	}
}

func (p *pod) wantEnd(r change.Request, want change.Status, code string) {
	p.t.Helper()
	got := ""
	if r.Error != nil {
		got = r.Error.Code
	}
	if r.Status != want || got != code {
		p.t.Errorf("%s ended as %s with %+v, want %s %s", r.Kind, r.Status, r.Error, want, code)
	}
}

// attempts is how often a step was tried.
func attempts(r change.Request, step string) int {
	for _, s := range r.Steps {
		if s.Name == step {
			return s.Attempt
		}
	}
	return 0
}

// shelf is a library with one image.
type shelf struct{}

func (shelf) Resolve(_ context.Context, ref string) (Image, error) {
	if name, _, _ := strings.Cut(ref, ":"); name != "debian" {
		return Image{}, fmt.Errorf("image %q: no such image", ref)
	}
	return Image{Ref: job.ImageRef{Name: "debian", Version: "12", ManifestDigest: "d1"}, Name: "debian:12", Arch: "amd64", Firmware: "both", Size: 1 << 30, MinDisk: 2 << 30}, nil
}

// wire is a network on which only HTTP to the appliance is spoken. Its
// connections are in memory, so that the bubble's time passes while they wait.
type wire struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	client *http.Client
}

func newWire(h http.Handler) *wire {
	w := &wire{server: &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}, conns: make(chan net.Conn), done: make(chan struct{})}
	w.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case w.conns <- addressed{far}:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
	go func() { _ = w.server.Serve(w) }()
	return w
}

func (w *wire) close() {
	w.client.CloseIdleConnections()
	_ = w.server.Close()
}

// Accept implements net.Listener.
func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (w *wire) Close() error { close(w.done); return nil }

// Addr implements net.Listener.
func (w *wire) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.1:80"))
}

// addressed is a connection from the machine's address.
type addressed struct{ net.Conn }

// RemoteAddr implements net.Conn.
func (addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.10:40000"))
}

var errOff = errors.New("connection refused")
