package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// bench is a guide over a real inventory that notes what it was asked to do.
type bench struct {
	*Guide
	t      *testing.T
	assets *asset.Registry
	tokens []string // what tokens were made, MACHINE MAC ADDRESS
	found  []string
	refuse error
}

func newBench(t *testing.T, d Discovery) *bench { return newBenchOf(t, d, "10.0.0.12") }

// newBenchOf is newBench with addresses up to last.
func newBenchOf(t *testing.T, d Discovery, last string) *bench {
	t.Helper()
	e, err := pebblekv.Open(filepath.Join(t.TempDir(), "store"), pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, tables := slog.New(slog.DiscardHandler), asset.NewTables()
	db, err := store.Open(t.Context(), e, log, tables.Schemas()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	vault, err := asset.OpenVault(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t}
	b.assets = asset.NewRegistry(db, tables, vault, asset.Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr(last)}, time.Now)
	f, err := asset.ParseFile([]byte("machines: [{name: m1, macs: ['52:54:00:00:00:01', '52:54:00:00:00:11']}, {name: m2, macs: ['52:54:00:00:00:02'], address: 10.0.0.50}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.assets.Import(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	b.Guide = NewGuide(b.assets, b, d, "http://10.0.0.1:8067", func(_ context.Context, m asset.Machine) { b.found = append(b.found, m.ID) }, log)
	return b
}

// Issue implements Tokens.
func (b *bench) Issue(_ context.Context, m, mac string, from netip.Addr) (string, error) {
	b.tokens = append(b.tokens, m+" "+mac+" "+from.String())
	return "t0ken", b.refuse
}

func (b *bench) set(fn func(m *asset.Machine)) {
	b.t.Helper()
	if err := b.assets.Change(b.t.Context(), "m1", func(_ *store.Tx, m *asset.Machine) error { fn(m); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{0x52, 0x54, 0, 0, 0, last} }

var from = netip.MustParseAddr("10.0.0.10")

// TestScript: what the machine boots in every state, with and without a request
// that has it, and that a token is made for the agent and for nothing else.
func TestScript(t *testing.T) {
	const agent, disk, wait = machine.BootAgent, machine.BootDisk, machine.BootWait
	want := map[machine.State][2]machine.Boot{ // free, and with a request
		machine.Discovered: {wait, wait}, machine.Inspecting: {wait, agent}, machine.Available: {wait, wait},
		machine.Reserved: {wait, agent}, machine.Imaging: {wait, agent}, machine.Configuring: {wait, agent},
		machine.Verifying: {disk, disk}, machine.Active: {disk, disk}, machine.Releasing: {wait, agent},
		machine.Rescue: {agent, agent}, machine.Maintenance: {wait, wait}, machine.Broken: {wait, wait},
	}
	b := newBench(t, DiscoverInspect)
	for _, state := range machine.States() {
		for i, lock := range []string{"", "r1"} {
			for _, nic := range []byte{0x01, 0x11} {
				b.set(func(m *asset.Machine) { m.Status.State, m.Lock = state, lock })
				b.tokens = nil
				p, err := b.Script(t.Context(), mac(nic), from)
				if err != nil {
					t.Fatal(err)
				}
				if p.Boot != want[state][i] || !strings.Contains(p.Reason, "m1") || !strings.Contains(p.Reason, string(state)) {
					t.Errorf("%s, lock %q: %s because %s; want %s", state, lock, p.Boot, p.Reason, want[state][i])
				}
				if p.Boot != agent {
					if len(b.tokens) > 0 || len(p.Args) > 0 {
						t.Errorf("%s, lock %q: token made, args %v", state, lock, p.Args)
					}
					continue
				}
				args := []string{job.ParamServer + "=http://10.0.0.1:8067", job.ParamMachine + "=m1", job.ParamToken + "=t0ken", job.ParamBootIF + "=" + mac(nic).String()}
				if !slices.Equal(p.Args, args) || !slices.Equal(b.tokens, []string{"m1 " + mac(nic).String() + " 10.0.0.10"}) {
					t.Errorf("%s: args %v, tokens %v", state, p.Args, b.tokens)
				}
				if strings.Contains(p.Reason, "t0ken") {
					t.Errorf("the token is on the console: %s", p.Reason)
				}
			}
		}
	}
	b.set(func(m *asset.Machine) { m.Status.State, m.Lock = machine.Imaging, "r1" })
	b.refuse = errors.New("disk full")
	if p, err := b.Script(t.Context(), mac(1), from); !errors.Is(err, b.refuse) || p.Boot != "" {
		t.Errorf("without a token: %+v, %v", p, err)
	}
	if len(b.found) > 0 {
		t.Errorf("found %v", b.found)
	}
}

// TestNoScriptBesideAnAgent: while a machine's agent speaks, who asks for its
// script is told to wait.
func TestNoScriptBesideAnAgent(t *testing.T) {
	b := newBench(t, DiscoverInspect)
	b.set(func(m *asset.Machine) { m.Status.State, m.Lock = machine.Imaging, "r1" })
	b.refuse = fmt.Errorf("machine m1: %w", agent.ErrBusy)
	if p, err := b.Script(t.Context(), mac(1), from); err != nil || p.Boot != machine.BootWait || len(p.Args) > 0 || !strings.Contains(p.Reason, "agent") {
		t.Errorf("while its agent speaks: %+v, %v", p, err)
	}
}

// TestStranger: what becomes of a machine that nobody knows, by policy.
func TestStranger(t *testing.T) {
	for _, c := range []struct {
		policy   Discovery
		boot     machine.Boot
		asked    bool // DHCP tells it to boot from us
		recorded bool
		found    bool
	}{
		{DiscoverInspect, machine.BootWait, true, true, true},
		{DiscoverRecord, machine.BootWait, true, true, false},
		{DiscoverIgnore, machine.BootDisk, false, false, false},
	} {
		t.Run(string(c.policy), func(t *testing.T) {
			b := newBench(t, c.policy)
			if err := b.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if h, known := b.Host([6]byte(mac(9))); known || h.Boot != c.asked || h.Addr.IsValid() || h.Machine != "" {
				t.Errorf("host %+v, known %v", h, known)
			}
			for range 2 { // it asks again, and stays the same machine
				p, err := b.Script(t.Context(), mac(9), from)
				if err != nil || p.Boot != c.boot || len(p.Args) > 0 {
					t.Errorf("%+v, %v", p, err)
				}
			}
			m, err := b.assets.ByMAC(t.Context(), mac(9).String())
			if recorded := err == nil; recorded != c.recorded {
				t.Fatalf("recorded: %v", err)
			}
			if c.recorded && (m.Accepted || m.Status.State != machine.Discovered) {
				t.Errorf("recorded as %+v", m)
			}
			// Nothing became of it the first time, as if the appliance was stopped then.
			if want := map[bool][]string{true: {"new-525400000009", "new-525400000009"}}[c.found]; !slices.Equal(b.found, want) {
				t.Errorf("found %v, want %v", b.found, want)
			}
			if !c.recorded {
				return
			}
			err = b.assets.Change(t.Context(), m.ID, func(_ *store.Tx, m *asset.Machine) error { m.Status.Since = m.Created.Add(1); return nil })
			if err != nil {
				t.Fatal(err)
			}
			b.found = nil
			if _, err := b.Script(t.Context(), mac(9), from); err != nil || len(b.found) > 0 {
				t.Errorf("found %v, %v: its inspection has ended", b.found, err)
			}
			if len(b.tokens) > 0 {
				t.Errorf("tokens %v for a stranger", b.tokens)
			}
		})
	}
}

// TestStrangerFromAfar: who was not seen on the link is recorded, and not
// inspected until somebody vouches for it.
func TestStrangerFromAfar(t *testing.T) {
	b := newBench(t, DiscoverInspect)
	b.Link = netip.MustParsePrefix("10.0.0.0/24")
	for range 2 {
		if p, err := b.Script(t.Context(), mac(9), netip.MustParseAddr("10.9.0.7")); err != nil || p.Boot != machine.BootWait {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if _, err := b.assets.ByMAC(t.Context(), mac(9).String()); err != nil || len(b.found) > 0 {
		t.Errorf("recorded: %v; found %v", err, b.found)
	}
}

// TestStrangersAreBounded: as many as one asks for do not become machines, at
// once or in the long run, and known machines boot as before.
func TestStrangersAreBounded(t *testing.T) {
	b := newBenchOf(t, DiscoverRecord, "10.0.1.200")
	now := time.Now()
	b.Guide.pace = httpboot.NewPace(strangerRate, strangerBurst, func() time.Time { return now })
	count := func() (n int) {
		t.Helper()
		list, err := b.assets.Machines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(list) - 2
	}
	for i := range 40 {
		if p, err := b.Script(t.Context(), net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}, from); err != nil || p.Boot != machine.BootWait {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if n := count(); n != strangerBurst {
		t.Errorf("%d recorded at once, want %d", n, strangerBurst)
	}
	var last error
	for i := range 2 * MaxStrangers {
		now = now.Add(time.Second)
		_, last = b.Script(t.Context(), net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}, from)
	}
	if n := count(); n != MaxStrangers || !errors.Is(last, ErrStrangers) {
		t.Errorf("%d recorded, want %d; the last: %v", n, MaxStrangers, last)
	}
	b.set(func(m *asset.Machine) { m.Status.State = machine.Active })
	if p, err := b.Script(t.Context(), mac(1), from); err != nil || p.Boot != machine.BootDisk {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestStrangersExhaustTheAddresses: then a stranger gets an error, and the
// machines of the inventory boot as before.
func TestStrangersExhaustTheAddresses(t *testing.T) {
	b := newBench(t, DiscoverRecord)
	var last error
	for i := range byte(4) {
		_, last = b.Script(t.Context(), mac(0x20+i), from)
	}
	if last == nil || !strings.Contains(last.Error(), "no address is free") {
		t.Errorf("the last stranger: %v", last)
	}
	b.set(func(m *asset.Machine) { m.Status.State = machine.Active })
	if p, err := b.Script(t.Context(), mac(1), from); err != nil || p.Boot != machine.BootDisk {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestHosts: what the DHCP server is told, and that it is a picture which stays
// until the inventory is read again.
func TestHosts(t *testing.T) {
	b := newBench(t, DiscoverInspect)
	host := func(last byte) Host {
		h, _ := b.Host([6]byte(mac(last)))
		return h
	}
	if h := host(1); h.Machine != "" {
		t.Errorf("before the inventory was read: %+v", h)
	}
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for last, want := range map[byte]Host{
		0x01: {Machine: "m1", Addr: netip.MustParseAddr("10.0.0.10"), Hostname: "m1", Boot: true},
		0x11: {Machine: "m1", Hostname: "m1", Boot: true},
		0x02: {Machine: "m2", Addr: netip.MustParseAddr("10.0.0.50"), Hostname: "m2", Boot: true},
	} {
		if d := cmp.Diff(want, host(last), cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Error(d)
		}
	}
	for a, want := range map[string]bool{"10.0.0.10": true, "10.0.0.50": true, "10.0.0.11": false} {
		if got := b.Reserved(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s reserved: %v", a, got)
		}
	}
	b.set(func(m *asset.Machine) { m.Server = &asset.Server{Hostname: "web1.example.com"} })
	if h := host(1); h.Hostname != "m1" {
		t.Errorf("the picture changed by itself: %+v", h)
	}
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := host(1); h.Hostname != "web1.example.com" {
		t.Errorf("a server's name: %+v", h)
	}
}

// TestRun: the guide follows the inventory until it is stopped.
func TestRun(t *testing.T) {
	b := newBench(t, DiscoverRecord)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	if _, err := b.assets.Discover(t.Context(), mac(9).String(), ""); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, known := b.Host([6]byte(mac(9))); known {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a new machine is not known")
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
