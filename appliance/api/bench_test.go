package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/appliance/agent"
	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/appliance/power"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

const podFile = `
pdus: [{name: p1, driver: test, address: here, config: {community: s3cret}}]
machines:
  - {name: m1, macs: ['52:54:00:00:00:01'], power: [{pdu: p1, outlet: '1'}]}
  - {name: m2, macs: ['52:54:00:00:00:02'], power: [{pdu: p1, outlet: '2'}]}
`

// bench is the API over a real store, with machines that never answer, so that
// requests stay where they are.
type bench struct {
	*Server
	t       *testing.T
	handler http.Handler
	rack    *rack
	logged  *logBuffer
	// stranger has calls come from somebody who is not root.
	stranger bool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	e, err := pebblekv.Open(filepath.Join(dir, "store"), pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, rack: &rack{state: map[string]string{"1": "on", "2": "on"}}, logged: &logBuffer{}}
	log := slog.New(slog.NewTextHandler(b.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	at, ct, gt, lt := asset.NewTables(), change.NewTables(), agent.NewTables(), alert.NewTables()
	db, err := store.Open(t.Context(), e, log, slices.Concat(at.Schemas(), ct.Schemas(), gt.Schemas(), lt.Schemas())...)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := asset.OpenVault(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	logs, err := agent.NewLogbook(filepath.Join(dir, "logs"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	assets := asset.NewRegistry(db, at, vault, asset.Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.20"),
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}, time.Now)
	actuator := power.New(device{b.rack}, power.Limits{Call: time.Second, Settle: time.Second, Poll: time.Millisecond, OffFor: time.Millisecond}, log)
	deployer := &deploy.Actuator{Network: deploy.Network{Prefix: netip.MustParsePrefix("10.0.0.0/24")}, Assets: assets, Power: actuator, Images: b.rack, Sightings: boot.NewSightings(time.Now),
		Agents: agent.New(db, gt, assets, logs, agent.DefaultTimes(), func(context.Context, string, string, string, string) {}, log, time.Now),
		Times:  deploy.DefaultTimes(), Dial: (&net.Dialer{}).DialContext, Now: time.Now, Log: log}
	book, live := change.NewBook(db, ct, assets, time.Now), change.NewLive(time.Now)
	runner := change.NewRunner(book, deployer.Plans(), live, nil, log)
	b.Server = &Server{Pod: "pod1", Version: "1.2.3", Assets: assets, Book: book, Runner: runner, Live: live, Deploy: deployer, Power: actuator,
		Alerts: alert.NewDesk(db, lt, nil, log, time.Now), Logs: logs, Images: b.rack, PDUs: b.rack, Drivers: func() []Driver { return []Driver{} },
		Metrics: http.NotFoundHandler(), Ready: func() error { return nil }, Now: time.Now, Log: log}
	b.handler = b.Handler()
	f, err := asset.ParseFile([]byte(podFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := assets.Import(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		runner.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// call makes one call as the gantry command does.
func (b *bench) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body))
	r.Host = "gantry"
	if !b.stranger {
		r = r.WithContext(context.WithValue(r.Context(), rootKey{}, true))
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// get calls and decodes what must be a success.
func (b *bench) get(method, path, body string, out any, headers ...string) {
	b.t.Helper()
	w := b.call(method, path, body, headers...)
	if w.Code/100 != 2 {
		b.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		b.t.Fatalf("%s %s: %s: %v", method, path, w.Body, err)
	}
}

// problem checks that an answer is an RFC 9457 problem that says want.
func problem(t *testing.T, w *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
		Errors        []struct{ Message, Location string }
	}
	ct := w.Header().Get("Content-Type")
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != status || p.Status != status || p.Title == "" || ct != "application/problem+json" {
		t.Fatalf("answered %d %s %s (%v), want problem %d", w.Code, ct, w.Body, err, status)
	}
	if all := fmt.Sprint(p.Detail, p.Errors); !strings.Contains(all, want) {
		t.Errorf("problem says %q, not %q", all, want)
	}
}

func (b *bench) set(id string, fn func(m *asset.Machine)) {
	b.t.Helper()
	if err := b.Assets.Change(b.t.Context(), id, func(_ *store.Tx, m *asset.Machine) error { fn(m); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// ready makes a machine one that can be deployed.
func (b *bench) ready(id string) {
	b.set(id, func(m *asset.Machine) {
		m.Status = machine.Status{State: machine.Available, Since: time.Now()}
		m.Inventory = &job.Inventory{CPU: job.CPU{Arch: "amd64"}, Memory: 1 << 30, Firmware: "bios", Disks: []job.Disk{{Path: "/dev/vda", Bytes: 10 << 30}}}
	})
}

// userKey is an authorized_keys line.
func userKey() string {
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// rack is the PDU, and the library with one image.
type rack struct {
	mu       sync.Mutex // guards the rest
	state    map[string]string
	uploaded string
	deleted  []string
}

func (k *rack) Outlets(_ context.Context, id string) ([]Outlet, error) {
	if id != "p1" {
		return nil, fmt.Errorf("pdu %q: %w", id, asset.ErrNotFound)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return []Outlet{{ID: "1", State: k.state["1"], Machine: "m1"}}, nil
}

func (k *rack) Switch(_ context.Context, id, outlet string, on bool) (Outlet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state[outlet] == "" {
		return Outlet{}, &power.Error{Feed: asset.Feed{PDU: id, Outlet: outlet}, State: power.Absent, Unknown: true, Err: io.ErrUnexpectedEOF}
	}
	k.state[outlet] = map[bool]string{true: "on", false: "off"}[on]
	return Outlet{ID: outlet, State: k.state[outlet]}, nil
}

func (k *rack) Resolve(_ context.Context, ref string) (deploy.Image, error) {
	if _, err := k.Show(context.Background(), ref); err != nil {
		return deploy.Image{}, fmt.Errorf("image %q: no such image", ref)
	}
	return deploy.Image{Name: "debian:12", Arch: "amd64", Firmware: "both", Size: 1 << 30}, nil
}

func (k *rack) List(context.Context) ([]Image, error) {
	return []Image{{Name: "debian", Version: "12", Digest: "d1"}}, nil
}

func (k *rack) Show(_ context.Context, ref string) (Image, error) {
	if ref != "debian" && ref != "debian:12" {
		return Image{}, fmt.Errorf("image %q: %w", ref, ErrNoImage)
	}
	return Image{Name: "debian", Version: "12", Digest: "d1"}, nil
}

func (k *rack) Import(_ context.Context, spec ImportSpec, r io.Reader, progress func(int64, int64)) (Image, error) {
	progress(3, 10)
	if spec.Name == "debian" {
		return Image{}, fmt.Errorf("debian:12 is there: %w", ErrConflict)
	}
	if strings.Contains(spec.Name, "BAD") {
		return Image{}, fmt.Errorf("name: %w", ErrBadInput)
	}
	if r != nil {
		b, err := io.ReadAll(r)
		if err != nil {
			return Image{}, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.uploaded = string(b)
	}
	return Image{Name: spec.Name, Version: spec.Version, OS: spec.OS}, nil
}

func (k *rack) Verify(ctx context.Context, ref string, _ func(int64, int64)) error {
	_, err := k.Show(ctx, ref)
	return err
}

func (k *rack) Delete(_ context.Context, ref string, inUse []string) error {
	if len(inUse) > 0 {
		return fmt.Errorf("image %s is used by %v: %w", ref, inUse, ErrConflict)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deleted = append(k.deleted, ref)
	return nil
}

// device is the rack as the power actuator sees it.
type device struct{ *rack }

// Outlets implements power.Devices.
func (d device) Outlets(context.Context, string) (power.Outlets, error) { return d, nil }

// Get implements power.Outlets.
func (d device) Get(_ context.Context, outlet string) (power.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return power.State(d.state[outlet]), nil
}

// Set implements power.Outlets.
func (d device) Set(ctx context.Context, outlet string, on bool, _ string) error {
	_, err := d.Switch(ctx, "p1", outlet, on)
	return err
}
