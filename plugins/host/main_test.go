package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/sdk"
)

// TestMain makes this binary three programs: the tests; a driver, when it is
// launched under a driver's name; and a host to be killed, for TestOrphan.
func TestMain(m *testing.M) {
	if name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), BinaryPrefix); ok {
		runTestDriver(name)
		return
	}
	if dir := os.Getenv("GANTRY_TEST_DOOMED_HOST"); dir != "" {
		runDoomedHost(dir)
		return
	}
	os.Exit(m.Run())
}

// testPDU is a device inside the driver, with outlets that misbehave by name.
type testPDU struct {
	mu      sync.Mutex // guards on
	on      map[string]bool
	changes atomic.Int32 // in flight
	most    atomic.Int32 // that ever were
}

const testSchema = `{"type":"object","additionalProperties":false,"required":["password"],"properties":{
	"password":{"type":"string","minLength":8},"level":{"enum":["low","high"]}}}`

// envEnd is between the variables of its environment that the driver tells.
const envEnd = "¶"

func runTestDriver(name string) {
	switch name {
	case "noisy":
		fmt.Println("hello, I am a noisy driver")
		fmt.Print(strings.Repeat("x", 100_000), "\nno line's end before the handshake: ")
	case "crash":
		os.Exit(7)
	case "flood":
		go func() {
			for i := 0; ; i++ {
				fmt.Fprintln(os.Stderr, "flood", i, strings.Repeat("y", 50))
				fmt.Println("flood on standard output", i)
				if i%1000 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	case "mute":
		time.Sleep(time.Hour)
	}
	told := name
	if name == "misnamed" {
		told = "somebody-else"
	}
	p := &testPDU{on: map[string]bool{}}
	sdk.Serve(sdk.Driver{
		Name: told, Vendor: "test", Version: "1.2.3", ConfigSchema: json.RawMessage(testSchema), PDU: p,
		Probe: func(context.Context, device.Target) (device.Identity, error) {
			env := strings.Join(os.Environ(), envEnd)
			groups, _ := os.Getgroups()
			who := fmt.Sprintf("user %d %d, group %d, others %v", os.Getuid(), os.Geteuid(), os.Getgid(), groups)
			return device.Identity{Vendor: "test", Name: env, Serial: who, Outlets: int(p.most.Load())}, nil
		},
	})
}

func (p *testPDU) ListOutlets(context.Context, device.Target) ([]device.Outlet, error) {
	return []device.Outlet{{ID: "1"}}, nil
}

func (p *testPDU) GetOutlets(ctx context.Context, _ device.Target, ids []string) ([]device.Reading, error) {
	switch ids[0] {
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "deaf":
		select {}
	case "panic":
		panic("a driver's bug")
	case "plain error":
		return nil, errors.New("no reason given")
	case "short":
		return nil, nil
	}
	readings := make([]device.Reading, len(ids))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, id := range ids {
		readings[i] = device.Reading{ID: id, State: device.Settled(p.on[id])}
	}
	return readings, nil
}

func (p *testPDU) SetOutlet(_ context.Context, _ device.Target, c device.Change) (device.Result, error) {
	n := p.changes.Add(1)
	defer p.changes.Add(-1)
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
	if c.OperationID == "panic" {
		panic("a driver's bug")
	}
	if c.Outlet == "liar" {
		return device.Result{After: device.StateOff, Outcome: device.OutcomeApplied}, nil
	}
	if strings.HasPrefix(c.Outlet, "busy") {
		time.Sleep(5 * time.Millisecond) // long enough for others to get in between
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.on[c.Outlet]
	p.on[c.Outlet] = c.On
	return device.Result{Before: device.Settled(before), After: device.Settled(c.On), Outcome: device.OutcomeApplied}, nil
}

// installDrivers makes a folder with this binary under drivers' names.
func installDrivers(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		installAs(t, self, filepath.Join(dir, BinaryPrefix+name))
	}
	return dir
}

func installAs(t *testing.T, from, to string) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// quick is a configuration with short waits.
func quick(t *testing.T, dir string, log io.Writer) Config {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "gh") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return Config{Dir: dir, RunDir: run, Log: slog.New(slog.NewTextHandler(log, nil)),
		HealthInterval: 300 * time.Millisecond, Backoff: 20 * time.Millisecond, Cooldown: time.Hour}
}

// run starts a host and stops it when the test ends.
func run(t *testing.T, cfg Config) *Host {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- h.Run(context.Background()) }()
	t.Cleanup(func() {
		h.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

func target() Target {
	return Target{Address: "192.0.2.1", Config: json.RawMessage(`{"password":"secret-word"}`), Name: "pdu1"}
}

// until polls until ok, for as long as a loaded machine may need.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func statusOf(t *testing.T, h *Host, name string) DriverStatus {
	t.Helper()
	for _, s := range h.Drivers() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no driver %s in %+v", name, h.Drivers())
	return DriverStatus{}
}

func ready(t *testing.T, h *Host, name string) DriverStatus {
	t.Helper()
	until(t, name+" ready", func() bool { return statusOf(t, h, name).State == DriverReady })
	return statusOf(t, h, name)
}

func reasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return device.Unspecified
}
