package appliance

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// shelf is what an appliance keeps of its pod.
type shelf struct {
	t      *testing.T
	assets *asset.Registry
	desk   *alert.Desk
}

func newShelf(t *testing.T, pool asset.Pool) *shelf {
	t.Helper()
	dir := t.TempDir()
	e, err := pebblekv.Open(filepath.Join(dir, "store"), pebblekv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	at, lt := asset.NewTables(), alert.NewTables()
	db, err := store.Open(t.Context(), e, log, slices.Concat(at.Schemas(), lt.Schemas())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	vault, err := asset.OpenVault(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return &shelf{t, asset.NewRegistry(db, at, vault, pool, time.Now), alert.NewDesk(db, lt, nil, log, time.Now)}
}

// start is what an appliance does with an inventory file when it starts. It
// returns the alerts that are then open.
func (s *shelf) start(file string) []alert.Alert {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "pod.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := importInventory(s.t.Context(), s.assets, path, s.desk, slog.New(slog.DiscardHandler)); err != nil {
		s.t.Fatalf("the appliance does not start: %v", err)
	}
	alerts, err := s.desk.List(s.t.Context(), false)
	if err != nil {
		s.t.Fatal(err)
	}
	return alerts
}

func testPool(t *testing.T) asset.Pool {
	t.Helper()
	c, err := readConfig(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	return c.machinePool()
}

// TestInventoryNeverStopsThePod: whatever is wrong with the inventory file, the
// appliance starts with the inventory that it has, and someone is told.
func TestInventoryNeverStopsThePod(t *testing.T) {
	for name, c := range map[string]struct {
		found  func(m *asset.Machine) // what became of a machine that was discovered
		file   string
		detail string
	}{
		"a discovered machine in work": {func(m *asset.Machine) { m.Lock = "r1" }, "machines: [{name: m1, macs: ['52:54:00:00:00:01']}]", "r1"},
		"accepted under another name":  {func(m *asset.Machine) { m.Accepted = true }, "machines: [{name: m1, macs: ['52:54:00:00:00:01']}]", "already exists"},
		"an address of elsewhere":      {nil, "machines: [{name: m1, macs: ['52:54:00:00:00:09'], address: 10.9.9.9}]", "10.9.9.9"},
		"a typo":                       {nil, "machine: []", `"machine"`},
		"no file":                      {nil, "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, testPool(t))
			m, err := s.assets.Discover(t.Context(), "52:54:00:00:00:01", "")
			if err != nil {
				t.Fatal(err)
			}
			if c.found != nil {
				if err := s.assets.Change(t.Context(), m.ID, func(_ *store.Tx, m *asset.Machine) error { c.found(m); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			alerts := s.start(c.file)
			if len(alerts) != 1 || alerts[0].Code != "inventory" || !strings.Contains(alerts[0].Detail, c.detail) || alerts[0].Action == "" {
				t.Errorf("alerts: %+v", alerts)
			}
			if list, err := s.assets.Machines(t.Context()); err != nil || len(list) != 1 || list[0].ID != m.ID {
				t.Errorf("machines: %+v, %v", list, err)
			}
		})
	}
}

// TestStartKeepsWhatWasAccepted: a restart does not take back what a technician
// has set since the file was imported.
func TestStartKeepsWhatWasAccepted(t *testing.T) {
	s := newShelf(t, testPool(t))
	const file = "pdus: [{name: p1, driver: d, address: a}]\nmachines: [{name: m1, macs: ['52:54:00:00:00:01']}]"
	s.start(file)
	if err := s.assets.Accept(t.Context(), "m1", "acme", []asset.Feed{{PDU: "p1", Outlet: "3"}}); err != nil {
		t.Fatal(err)
	}
	if alerts := s.start(file); len(alerts) != 0 {
		t.Errorf("alerts: %+v", alerts)
	}
	if m, err := s.assets.Machine(t.Context(), "m1"); err != nil || m.Owner != "acme" || len(m.Power) != 1 {
		t.Errorf("m1: %+v, %v", m, err)
	}
}

// TestMachinePool: the appliance's own address, the routers and what DHCP gives
// to strangers are no machine's, and neither is what no network has.
func TestMachinePool(t *testing.T) {
	s := newShelf(t, testPool(t))
	for addr, ok := range map[string]bool{"10.0.4.1": false, "10.0.4.254": false, "10.0.4.150": false, "10.0.5.1": false, "10.0.5.20": false,
		"10.0.6.1": false, "10.0.4.20": true, "10.0.4.200": true, "10.0.5.200": true} {
		f, err := asset.ParseFile([]byte("machines: [{name: m1, macs: ['52:54:00:00:00:01'], address: " + addr + "}]"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.assets.Import(t.Context(), f); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
