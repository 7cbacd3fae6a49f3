package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	pod "github.com/gantry-pod/gantry/appliance"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/lab/machine"
)

// complete is a valid configuration of two machines.
func complete(t testing.TB) Config {
	t.Helper()
	machines, err := Machines(2, "mixed")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{StateDir: "/nonexistent", Machines: machines, Forwards: []Forward{
		{Listen: "127.0.0.1:2201", To: "machine:m1:22"}, {Listen: "127.0.0.1:0", To: "tcp:10.77.0.1:80"}, {Listen: "127.0.0.1:7480", To: "appliance"},
	}}.WithDefaults()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaultsAreIdempotentAndDistinct(t *testing.T) {
	cfg := complete(t)
	if diff := cmp.Diff(cfg, cfg.WithDefaults(), cmpopts.IgnoreFields(Config{}, "Log", "PDUTrace")); diff != "" {
		t.Errorf("defaults twice (-once +twice):\n%s", diff)
	}
	other := cfg
	other.Name = "other"
	other.Machines = []machine.Spec{{Name: "m1"}}
	other = other.WithDefaults()
	a, b, c := cfg.Machines[0], cfg.Machines[1], other.Machines[0]
	if a.UUID == b.UUID || a.UUID == c.UUID || a.NICs[0].MAC == b.NICs[0].MAC || a.NICs[0].MAC == c.NICs[0].MAC {
		t.Errorf("identities are not distinct: %+v, %+v, %+v", a, b, c)
	}
	if a.Firmware != machine.BIOS || b.Firmware != machine.UEFI {
		t.Errorf("mixed firmware: %s, %s", a.Firmware, b.Firmware)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, says string
		change     func(*Config)
	}{
		{"long name", "1 to 8", func(c *Config) { c.Name = "ninechars" }},
		{"no state", "state directory", func(c *Config) { c.StateDir = "" }},
		{"same outlet", `outlet 1 is both m1's and m2's`, func(c *Config) { c.Machines[1].Outlets = []int{1} }},
		{"same UUID", "uuid", func(c *Config) { c.Machines[1].UUID = c.Machines[0].UUID }},
		{"outlet beyond the PDU", "the PDU has 8", func(c *Config) { c.Machines[1].Outlets = []int{9} }},
		{"outlet 0", "count from 1", func(c *Config) { c.Machines[1].Outlets = []int{0} }},
		{"three feeds", "want 1 or 2", func(c *Config) { c.Machines[1].Outlets = []int{2, 3, 4} }},
		{"forward to a stranger", `no machine "m3"`, func(c *Config) { c.Forwards[0].To = "machine:m3:22" }},
		{"forward to nothing", "want machine:NAME:PORT", func(c *Config) { c.Forwards[0].To = "moon" }},
		{"forward from nowhere", "2201", func(c *Config) { c.Forwards[0].Listen = "2201" }},
		{"serial that breaks QEMU's syntax", "serial", func(c *Config) { c.Machines[0].Serial = "a,file=/etc/passwd" }},
		{"disk serial", "serial", func(c *Config) { c.Machines[0].Disks[0].Serial = strings.Repeat("x", 21) }},
		{"odd disk size", "multiple of 1 MiB", func(c *Config) { c.Machines[0].Disks[0].Bytes = 1000 }},
		{"spinning NVMe", "cannot be rotational", func(c *Config) {
			c.Machines[0].Disks[0].Bus, c.Machines[0].Disks[0].Rotational = "nvme", true
		}},
		{"multicast MAC", "unicast", func(c *Config) { c.Machines[0].NICs[0].MAC = "01:00:5e:00:00:01" }},
		{"unknown firmware", "want bios or uefi", func(c *Config) { c.Machines[0].Firmware = "coreboot" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := complete(t)
			c.change(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Validate = %v, want %q", err, c.says)
			}
		})
	}
}

func TestDecodeConfig(t *testing.T) {
	cfg := complete(t)
	cfg.Log = nil
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeConfig(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg, got, cmpopts.IgnoreFields(Config{}, "PDUTrace")); diff != "" {
		t.Errorf("through YAML (-want +got):\n%s", diff)
	}
	_, err = DecodeConfig(strings.NewReader("name: x\nmachines:\n- name: m1\n  cpu: 2\n"))
	if err == nil || !strings.Contains(err.Error(), "cpu") || !strings.Contains(err.Error(), "[4:") {
		t.Errorf("an unknown key: %v, want its name and line", err)
	}
}

func FuzzDecodeConfig(f *testing.F) {
	text, err := yaml.Marshal(complete(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("machines: [{}]")
	f.Add("machines: [{name: m1, outlets: [-1], disks: [{bytes: -1}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := DecodeConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		_ = cfg.WithDefaults().Validate() // must not panic
	})
}

func TestInventory(t *testing.T) {
	cfg := complete(t)
	cfg.Machines[1].Outlets = []int{2, 3}
	got := newInventory(cfg, secrets{ReadCommunity: "r", WriteCommunity: "w"})
	want := inventory{
		PDUs: []inventoryPDU{{Name: "pdu1", Driver: "pdu-snmp", Address: "10.78.0.10:161", Config: map[string]string{
			"version": "2c", "community": "r", "write_community": "w",
		}}},
		Machines: []inventoryMachine{
			{Name: "m1", UUID: cfg.Machines[0].UUID, MACs: []string{cfg.Machines[0].NICs[0].MAC}, Power: []inventoryFeed{{"pdu1", "1"}}, Owner: "gantry"},
			{Name: "m2", UUID: cfg.Machines[1].UUID, MACs: []string{cfg.Machines[1].NICs[0].MAC}, Power: []inventoryFeed{{"pdu1", "2"}, {"pdu1", "3"}}, Owner: "gantry"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretsStayAndDiffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	first, err := loadSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadSecrets(path)
	if err != nil || again != first {
		t.Errorf("read again: %v, %v", again == first, err)
	}
	if first.ReadCommunity == first.WriteCommunity || len(first.ReadCommunity) < 20 {
		t.Error("the communities can be guessed")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secrets file: %v, %v", info.Mode(), err)
	}
}

func TestParseFaultValues(t *testing.T) {
	for text, want := range map[string]float64{"5%": 0.05, "0": 0, "100%": 1, "0.5%": 0.005} {
		if got, err := ParseShare(text); err != nil || got != want {
			t.Errorf("ParseShare(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "%", "-1%", "101%", "NaN%", "Inf", "five"} {
		if got, err := ParseShare(text); err == nil {
			t.Errorf("ParseShare(%q) = %v", text, got)
		}
	}
	for text, want := range map[string]int64{"5MB/s": 5e6, "0": 0, "800kB/s": 8e5, "1.5GB/s": 15e8, "1B/s": 1} {
		if got, err := ParseSpeed(text); err != nil || got != want {
			t.Errorf("ParseSpeed(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "5MB", "0.1B/s", "-5MB/s", "9999GB/s", "5 MB/s", "MB/s", "5MiB/s"} {
		if got, err := ParseSpeed(text); err == nil {
			t.Errorf("ParseSpeed(%q) = %v", text, got)
		}
	}
}

func TestStateDirIsOnlyRemovedIfALabMadeIt(t *testing.T) {
	mine, others := filepath.Join(t.TempDir(), "mine"), t.TempDir()
	if err := MakeState(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(others, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeState(others); err == nil {
		t.Error("a directory with something else in it became a lab's")
	}
	if err := RemoveState(others); err == nil {
		t.Error("a directory that no lab made was removed")
	}
	if _, err := os.Stat(filepath.Join(others, "thesis.tex")); err != nil {
		t.Error(err)
	}
	for range 2 { // the second time it is gone
		if err := RemoveState(mine); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(mine); err == nil {
		t.Error("the lab's directory is still there")
	}
}

// TestApplianceTakesItsConfig gives the generated files to who reads them.
func TestApplianceTakesItsConfig(t *testing.T) {
	dir := t.TempDir()
	cfg := complete(t)
	cfg.StateDir, cfg.Appliance = dir, "/opt/bin/gantry-appliance"
	cfg.ApplianceExtra = "times:\n  boot: 3m\n"
	l := &Lab{cfg: cfg, asked: cfg, secrets: secrets{ReadCommunity: "r", WriteCommunity: "w"}}
	if err := l.writeFiles(); err != nil {
		t.Fatal(err)
	}
	got, err := pod.ReadConfig(l.ApplianceConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	if got.API.Socket != l.ApplianceSocket() || got.Drivers.Dir != "/opt/bin" || got.Netboot.Dir != "/opt/netboot" ||
		got.Inventory != l.InventoryPath() || time.Duration(got.Times.Boot) != 3*time.Minute {
		t.Errorf("read as %+v", got)
	}
	text, err := os.ReadFile(l.InventoryPath())
	if err != nil {
		t.Fatal(err)
	}
	if file, err := asset.ParseFile(text); err != nil || len(file.Machines) != 2 || len(file.PDUs) != 1 {
		t.Errorf("inventory read as %+v, %v", file, err)
	}
	asked, err := AskedConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg, asked, cmpopts.IgnoreFields(Config{}, "Log", "PDUTrace")); diff != "" {
		t.Errorf("what was asked for (-want +got):\n%s", diff)
	}
}
