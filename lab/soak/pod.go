package main

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/machine"
)

// times are the appliance's, short: what takes a server minutes takes these
// machines a second.
const times = `times: {boot: 12s, image: 40s, wipe: 40s, verify: 12s, outlet_settle: 3s, outlet_off_for: 50ms, lldp: 0s, agent_lost: 6s}
`

// pod is one seed's: the lab, its appliance and the machines.
type pod struct {
	*lab.Lab
	api   *client.Client
	rack  *rack
	image []byte
	data  string // the file of the image's chunks in the library
	key   string // authorized_keys line

	mu       sync.Mutex // guards what follows
	altered  bool
	released map[string]time.Time // when an instance's release was accepted
	broken   []string             // what did not hold, in order
	history  []string
}

// newPod brings a pod up with all machines accepted and available.
func newPod(ctx context.Context, c config, seed uint64, dir string) (p *pod, err error) {
	p = &pod{released: map[string]time.Time{}, image: makeImage(seed)}
	if p.rack, err = newRack(dir, c.machines, seed); err != nil {
		return nil, err
	}
	netboot, err := makeNetboot(dir)
	if err != nil {
		return nil, err
	}
	specs := []machine.Spec{}
	for _, s := range p.rack.slots {
		specs = append(specs, machine.Spec{Name: s.spec.Name, UUID: s.spec.UUID, NICs: []machine.NIC{{MAC: s.spec.MAC}}})
	}
	logs, err := os.Create(filepath.Join(dir, "lab.log"))
	if err != nil {
		return nil, err
	}
	p.Lab, err = lab.Up(ctx, lab.Config{
		Name: fmt.Sprintf("so%d", os.Getpid()%1e6), StateDir: filepath.Join(dir, "state"), Machines: specs,
		Appliance: filepath.Join(c.build, "bin", "gantry-appliance"), Netboot: netboot, ApplianceExtra: times,
		StandIn: p.rack.switched, Log: slog.New(slog.NewTextHandler(logs, nil)),
	})
	if err != nil {
		return nil, fmt.Errorf("%w (run `make build` first, as root)", err)
	}
	p.rack.plugInto(p.Lab)
	p.api = client.New(p.ApplianceSocket())
	if err := p.prepare(ctx, dir); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

// close takes everything down.
func (p *pod) close(ctx context.Context) error {
	err := p.Close(context.WithoutCancel(ctx))
	p.rack.close()
	return err
}

// prepare imports the image and has every machine inspected.
func (p *pod) prepare(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := p.api.Ready(ctx); err != nil {
		return fmt.Errorf("the appliance does not answer: %w", err)
	}
	raw := filepath.Join(dir, "image.raw")
	if err := os.WriteFile(raw, p.image, 0o600); err != nil {
		return err
	}
	img, err := p.api.Import(ctx, raw, "soak", "1")
	if err != nil {
		return err
	}
	p.data = filepath.Join(p.Config().StateDir, "appliance", "images", "images", img.Digest, "data")
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	p.key = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	for _, s := range p.rack.slots {
		if err := p.api.Call(ctx, http.MethodPost, "/v1/machines/"+s.spec.Name+"/accept", map[string]any{}, nil); err != nil {
			return err
		}
	}
	for _, s := range p.rack.slots {
		m, err := p.api.Settled(ctx, s.spec.Name)
		if err == nil && m.Status.State != "available" {
			err = fmt.Errorf("machine %s is %s: %s", m.ID, m.Status.State, m.Status.Reason)
		}
		if err != nil {
			return fmt.Errorf("before anything fails: %w", err)
		}
	}
	return nil
}

// makeImage makes a disk image with a boot sector's mark, data and holes.
func makeImage(seed uint64) []byte {
	b := make([]byte, 8<<20)
	rnd := rand.NewPCG(seed, 3)
	for at := 0; at < len(b); at += 8 {
		if at>>20 != 3 && at>>20 != 5 {
			binary.LittleEndian.PutUint64(b[at:], rnd.Uint64())
		}
	}
	clear(b[446:510]) // a partition table without an entry
	b[510], b[511] = 0x55, 0xaa
	return b
}

// makeNetboot makes what the machines fetch: its content does not matter.
func makeNetboot(dir string) (string, error) {
	netboot := filepath.Join(dir, "netboot")
	if err := os.MkdirAll(filepath.Join(netboot, "loaders"), 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"vmlinuz", "initrd.img", "loaders/undionly.kpxe"} {
		if err := os.WriteFile(filepath.Join(netboot, name), make([]byte, 64<<10), 0o644); err != nil {
			return "", err
		}
	}
	return netboot, nil
}

// violate notes that something does not hold.
func (p *pod) violate(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = append(p.broken, fmt.Sprintf(format, args...))
}

// say notes what happened.
func (p *pod) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// alter flips one bit of the image in the library, or flips it back.
func (p *pod) alter(altered bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.altered == altered {
		return nil
	}
	f, err := os.OpenFile(p.data, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	const at = 1 << 20
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	p.altered = altered
	return err
}
