// Package sim is a machine as one process: all that an appliance can tell of a
// computer, and nothing that takes a processor. It asks the real DHCP server as
// PXE firmware and as iPXE do, fetches its boot script, kernel and initramfs
// over HTTP, and does what the script says: it runs the real agent's client,
// worker and image writer of netboot on a sparse file that is its disk, or it
// starts its disk, which is an SSH server with the host key that is on it.
//
// The process is in a network namespace of its own. Killing it is a power cut:
// whatever it held in memory is gone, its disk is as it was.
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Spec is what a machine is made of.
type Spec struct {
	Name, MAC, UUID string
	// Disk is the file that is its disk, DiskBytes its size.
	Disk      string
	DiskBytes int64
	// Seed makes its delays.
	Seed uint64
}

// Event is what a machine writes down: one line of JSON on its standard output.
type Event struct {
	At   time.Time
	What What
	// Instance is the deployment that is on the disk that was started.
	Instance string `json:",omitempty"`
	Detail   string `json:",omitempty"`
}

// What happened to a machine.
type What string

// What a machine writes down.
const (
	// StartedDisk: it started the system on its disk, which it was told to at At.
	StartedDisk What = "started-disk"
	// EmptyDisk: it was told to start its disk, and there is no system on it.
	EmptyDisk What = "empty-disk"
	// Intruded: the appliance took a token that it should not have, or gave one.
	Intruded What = "intruded"
)

// Order is what a machine is told on its standard input, one line of JSON each.
type Order struct {
	// Silent is how long no word of the agent arrives.
	Silent time.Duration `json:",omitempty"`
	// Lose and Double are how many of the agent's next calls lose their answer,
	// having been carried out, or arrive twice.
	Lose   int `json:",omitempty"`
	Double int `json:",omitempty"`
	// Forge has it want another machine's script, and try wrong tokens, before the
	// agent's next hello.
	Forge bool `json:",omitempty"`
}

// machine is one that has power.
type machine struct {
	spec   Spec
	log    *slog.Logger
	http   *http.Client
	faults faults

	mu  sync.Mutex // guards out and rnd
	out *json.Encoder
	rnd *rand.Rand
}

// Run is a machine from power-on until ctx ends. in gives orders, out takes
// events.
func Run(ctx context.Context, spec Spec, in io.Reader, out io.Writer, log *slog.Logger) error {
	m := &machine{spec: spec, log: log, out: json.NewEncoder(out), rnd: rand.New(rand.NewPCG(spec.Seed, 1)),
		http: &http.Client{Timeout: 10 * time.Second}}
	go m.obey(in)
	if err := linkUp(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := m.boot(ctx)
		log.Info("boot ended", "error", err)
		if errors.Is(err, errHalt) {
			<-ctx.Done()
		}
		m.pause(ctx, 200*time.Millisecond)
	}
	return nil
}

// errRestart and errHalt end a boot.
var (
	errRestart = errors.New("restart")
	errHalt    = errors.New("halt")
)

// obey takes orders until there are no more.
func (m *machine) obey(in io.Reader) {
	for d := json.NewDecoder(in); ; {
		var o Order
		if err := d.Decode(&o); err != nil {
			return
		}
		m.faults.add(o)
	}
}

// tell writes an event down.
func (m *machine) tell(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if err := m.out.Encode(e); err != nil {
		m.log.Error("event not told", "error", err)
	}
}

// pause takes between half of about and one and a half of it: hardware is slow.
func (m *machine) pause(ctx context.Context, about time.Duration) {
	m.mu.Lock()
	d := about/2 + time.Duration(m.rnd.Int64N(int64(about)))
	m.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// boot goes from the firmware to whatever the script says, and to its end.
func (m *machine) boot(ctx context.Context) error {
	m.pause(ctx, 300*time.Millisecond)
	lease, err := m.network(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		asked := time.Now()
		text, err := m.fetch(ctx, lease.script)
		if err != nil {
			return err
		}
		s, err := readScript(text, lease.script)
		if err != nil {
			return err
		}
		switch {
		case s.disk:
			return m.startDisk(ctx, asked)
		case s.kernel != "":
			return m.startKernel(ctx, s)
		}
		m.pause(ctx, time.Second) // the script says ten
	}
	return ctx.Err()
}

// startKernel loads the agent and becomes it.
func (m *machine) startKernel(ctx context.Context, s script) error {
	for _, url := range append([]string{s.kernel}, s.initrds...) {
		if _, err := m.fetch(ctx, url); err != nil {
			return err
		}
		m.pause(ctx, 100*time.Millisecond)
	}
	p := map[string]string{}
	for _, arg := range s.args {
		k, v, _ := strings.Cut(arg, "=")
		p[k] = v
	}
	return m.agent(ctx, p[job.ParamServer], p[job.ParamMachine], p[job.ParamToken], p[job.ParamBootIF])
}

// fetch gets a URL as iPXE does: once.
func (m *machine) fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := m.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return string(b), err
}
