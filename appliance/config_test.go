package appliance

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goodConfig is a configuration with everything in it.
const goodConfig = `
pod: pod1
state_dir: state
run_dir: /run/g
provisioning: {parent: eth1, vlan: 40, mtu: 1500, address: 10.0.4.1/24}
dhcp:
  machines: 10.0.4.10-10.0.4.99
  pool: 10.0.4.100-10.0.4.199
  router: 10.0.4.254
  dns: [10.0.0.53, "fd00::53"]
  ntp: [10.0.0.123]
  lease: 1h
  relayed: [{prefix: 10.0.5.0/24, pool: 10.0.5.10-10.0.5.99, router: 10.0.5.1}]
http: {port: 80, image_rate: 1000000}
images: {local_urls: true}
api: {socket: s, group: gantry, tls: {listen: ":8443", cert: tls/cert, key: /etc/key, tokens: tokens}}
discovery: record
alerts:
  webhook: {url: "https://example.com/x", key_file: hook.key}
  smtp: {server: "mail:25", from: a@b, to: [c@d], password_file: smtp}
times: {boot: 1m30s, lldp: 0s}
keep: 720h
`

func readConfig(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gantry.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(path)
	for _, p := range c.paths() {
		*p = strings.Replace(*p, filepath.Dir(path), "HERE", 1)
	}
	return c, err
}

// TestReadConfig: the file's values are over the defaults, and its paths are
// relative to its own folder.
func TestReadConfig(t *testing.T) {
	c, err := readConfig(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Pod, want.StateDir, want.RunDir, want.Discovery = "pod1", "HERE/state", "/run/g", "record"
	want.Provisioning = Provisioning{Parent: "eth1", VLAN: 40, MTU: 1500, Address: "10.0.4.1/24"}
	want.DHCP = DHCP{Machines: "10.0.4.10-10.0.4.99", Pool: "10.0.4.100-10.0.4.199", Router: "10.0.4.254", DNS: []string{"10.0.0.53", "fd00::53"},
		NTP: []string{"10.0.0.123"}, Lease: Duration(time.Hour), Relayed: []Relayed{{"10.0.5.0/24", "10.0.5.10-10.0.5.99", "10.0.5.1"}}}
	want.HTTP, want.Images = HTTP{80, 1000000}, Images{LocalURLs: true}
	want.API = API{Socket: "HERE/s", Group: "gantry", TLS: &TLS{":8443", "HERE/tls/cert", "/etc/key", "HERE/tokens"}}
	want.Alerts = Alerts{&Webhook{"https://example.com/x", "HERE/hook.key"}, &SMTP{Server: "mail:25", From: "a@b", To: []string{"c@d"}, PasswordFile: "HERE/smtp"}}
	want.Times.Boot, want.Times.LLDP = Duration(90*time.Second), 0
	want.Keep = Duration(30 * 24 * time.Hour)
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

// TestSmallestConfig: what is left out has a default that stands.
func TestSmallestConfig(t *testing.T) {
	c, err := readConfig(t, "provisioning: {device: eth1, address: 10.0.4.1/24}\ndhcp: {machines: 10.0.4.10-10.0.4.99}")
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Provisioning, want.DHCP.Machines = Provisioning{Device: "eth1", Address: "10.0.4.1/24"}, "10.0.4.10-10.0.4.99"
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	for rest, ok := range map[string]bool{"{proxy: true}": false, "{proxy: true}\ndiscovery: record": false, "{proxy: true}\ndiscovery: ignore": true,
		"{proxy: true, machines: 10.0.4.10-10.0.4.99}": true} {
		_, err := readConfig(t, "provisioning: {device: eth1, address: 10.0.4.1/24}\ndhcp: "+rest)
		if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "dhcp.machines: is required")) {
			t.Errorf("%s: %v", rest, err)
		}
	}
	if _, err := readConfig(t, ""); err == nil || !strings.Contains(err.Error(), "provisioning") {
		t.Errorf("an empty file: %v", err)
	}
}

// TestConfigErrors: mistakes of the file's form name the line.
func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":       {"pod: a\nstate: x\n", []string{"gantry.yaml", "[2:1]", `"state"`}},
		"unknown inner key": {"dhcp:\n  lease: 1h\n  range: x\n", []string{"[3:3]", `"range"`}},
		"not a number":      {"http:\n  port: many\n", []string{"[2:"}},
		"port too large":    {"http:\n  port: 70000\n", []string{"[2:"}},
		"not a duration":    {"times:\n  boot: soon\n", []string{"soon", "not a duration"}},
		"duration in days":  {"times:\n  boot: 1d\n", []string{"not a duration"}},
		"key twice":         {"pod: a\npod: b\n", []string{"[2:1]", "already defined"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readConfig(t, c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
	_, err := readConfig(t, "alerts:\n  webhook:\n    url: https://example.com/s3cret\n    key: x\n")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a mistake beside a secret: %v", err)
	}
	if _, err := ReadConfig(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestValidate breaks one thing at a time: each is found, and nothing else is.
func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no pod":               {func(c *Config) { c.Pod = "" }, `pod: pod name ""`},
		"pod of a path":        {func(c *Config) { c.Pod = "a/b" }, `pod: pod name "a/b"`},
		"no state":             {func(c *Config) { c.StateDir = "" }, "state_dir: is required"},
		"no run":               {func(c *Config) { c.RunDir = "" }, "run_dir: is required"},
		"run too long":         {func(c *Config) { c.RunDir = "/" + strings.Repeat("x", 52) }, "run_dir: "},
		"no socket":            {func(c *Config) { c.API.Socket = "" }, "api.socket: is required"},
		"socket too long":      {func(c *Config) { c.API.Socket = "/" + strings.Repeat("x", 107) }, "api.socket: "},
		"no drivers":           {func(c *Config) { c.Drivers.Dir = "" }, "drivers.dir: is required"},
		"no netboot":           {func(c *Config) { c.Netboot.Dir = "" }, "netboot.dir: is required"},
		"no loaders":           {func(c *Config) { c.Netboot.Loaders = "" }, "netboot.loaders: is required"},
		"no interface":         {func(c *Config) { c.Provisioning.Parent = "" }, "provisioning: give either"},
		"two interfaces":       {func(c *Config) { c.Provisioning.Device = "eth0" }, "provisioning: give either"},
		"untagged with a VLAN": {func(c *Config) { c.Provisioning.Device, c.Provisioning.Parent = "eth0", "" }, "provisioning: give either"},
		"VLAN 0":               {func(c *Config) { c.Provisioning.VLAN = 0 }, "provisioning.vlan: 0"},
		"VLAN 4095":            {func(c *Config) { c.Provisioning.VLAN = 4095 }, "provisioning.vlan: 4095"},
		"tiny MTU":             {func(c *Config) { c.Provisioning.MTU = 100 }, "provisioning.mtu: 100"},
		"no address":           {func(c *Config) { c.Provisioning.Address = "" }, `provisioning.address: ""`},
		"address, no prefix":   {func(c *Config) { c.Provisioning.Address = "10.0.4.1" }, "provisioning.address:"},
		"IPv6":                 {func(c *Config) { c.Provisioning.Address = "fd00::1/64" }, "provisioning.address:"},
		"no machines":          {func(c *Config) { c.DHCP.Machines = "" }, `dhcp.machines: ""`},
		"machines backwards":   {func(c *Config) { c.DHCP.Machines = "10.0.4.99-10.0.4.10" }, "dhcp.machines:"},
		"one machine":          {func(c *Config) { c.DHCP.Machines = "10.0.4.10" }, "dhcp.machines:"},
		"machines elsewhere":   {func(c *Config) { c.DHCP.Machines = "10.0.9.10-10.0.9.20" }, "dhcp.machines: 10.0.9.10-10.0.9.20 is not within 10.0.4.0/24"},
		"our own address":      {func(c *Config) { c.DHCP.Machines = "10.0.4.1-10.0.4.20" }, "contains the appliance's own address"},
		"pool elsewhere":       {func(c *Config) { c.DHCP.Pool = "10.0.9.10-10.0.9.20" }, "dhcp.pool:"},
		"pool over machines":   {func(c *Config) { c.DHCP.Pool = "10.0.4.99-10.0.4.120" }, "dhcp.pool: 10.0.4.99-10.0.4.120 overlaps dhcp.machines"},
		"router's name":        {func(c *Config) { c.DHCP.Router = "gw" }, `dhcp.router: "gw"`},
		"DNS server's name":    {func(c *Config) { c.DHCP.DNS[1] = "ns" }, `entry 2: "ns"`},
		"NTP server's name":    {func(c *Config) { c.DHCP.NTP[0] = "ntp" }, `entry 3: "ntp"`},
		"a century's lease":    {func(c *Config) { c.DHCP.Lease = Duration(876000 * time.Hour) }, "dhcp.lease: is 876000h0m0s"},
		"broadcast in pool":    {func(c *Config) { c.DHCP.Router, c.DHCP.Pool = "", "10.0.4.200-10.0.4.255" }, "dhcp.pool: 10.0.4.200-10.0.4.255 contains 10.0.4.255"},
		"network in machines":  {func(c *Config) { c.Provisioning.Address, c.DHCP.Machines = "10.0.4.99/24", "10.0.4.0-10.0.4.20" }, "dhcp.machines: 10.0.4.0-10.0.4.20 contains 10.0.4.0"},
		"router in pool":       {func(c *Config) { c.DHCP.Router = "10.0.4.101" }, "dhcp.pool: 10.0.4.100-10.0.4.199 contains 10.0.4.101, the router"},
		"NTP server a machine": {func(c *Config) { c.DHCP.NTP[0] = "10.0.4.11" }, "dhcp.machines: 10.0.4.10-10.0.4.99 contains 10.0.4.11"},
		"relayed is our own":   {func(c *Config) { c.DHCP.Relayed[0] = Relayed{Prefix: "10.0.0.0/16"} }, "dhcp.relayed[0].prefix: 10.0.0.0/16 overlaps 10.0.4.0/24"},
		"17 DNS servers":       {func(c *Config) { c.DHCP.Relayed, c.DHCP.DNS = nil, slices.Repeat([]string{"10.0.0.1"}, 17) }, "dhcp: dhcp: Subnets[0].DNS"},
		"no lease":             {func(c *Config) { c.DHCP.Lease = 0 }, "dhcp.lease: is 0s"},
		"relayed nowhere":      {func(c *Config) { c.DHCP.Relayed[0].Prefix = "x" }, `dhcp.relayed[0].prefix: "x"`},
		"relayed pool":         {func(c *Config) { c.DHCP.Relayed[0].Pool = "10.0.4.10-10.0.4.20" }, "dhcp.relayed[0].pool:"},
		"relayed router":       {func(c *Config) { c.DHCP.Relayed[0].Router = "x" }, "dhcp.relayed[0].router:"},
		"no port":              {func(c *Config) { c.HTTP.Port = 0 }, "http: port 0"},
		"rate below 0":         {func(c *Config) { c.HTTP.ImageRate = -1 }, "image_rate -1"},
		"policy":               {func(c *Config) { c.Discovery = "all" }, `discovery: "all"`},
		"no policy":            {func(c *Config) { c.Discovery = "" }, `discovery: ""`},
		"webhook by mail":      {func(c *Config) { c.Alerts.Webhook.URL = "mailto:s3cret@b" }, "alerts.webhook.url: is not"},
		"webhook nowhere":      {func(c *Config) { c.Alerts.Webhook.URL = "https:///s3cret" }, "alerts.webhook.url: is not"},
		"mail to nobody":       {func(c *Config) { c.Alerts.SMTP.To = nil }, "alerts.smtp: server, from and to"},
		"mail without a port":  {func(c *Config) { c.Alerts.SMTP.Server = "mail" }, "alerts.smtp.server:"},
		"TLS without tokens":   {func(c *Config) { c.API.TLS.Tokens = "" }, "api.tls: listen, cert, key and tokens"},
		"TLS without a key":    {func(c *Config) { c.API.TLS.Key = "" }, "api.tls: listen, cert, key and tokens"},
		"no time to boot":      {func(c *Config) { c.Times.Boot = 0 }, "times.boot: 0s"},
		"lost before it spoke": {func(c *Config) { c.Times.Lost = -1 }, "times.agent_lost: -1ns"},
		"kept for no time":     {func(c *Config) { c.Keep = 0 }, "keep: is 0s"},
		"LLDP below 0":         {func(c *Config) { c.Times.LLDP = -1 }, "times.lldp: -1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := readConfig(t, goodConfig)
			if err != nil {
				t.Fatal(err)
			}
			c.change(&cfg)
			err = cfg.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want %q alone", err, c.want)
			}
		})
	}
}

// TestValidateSaysEverything at once, in the order of the keys.
func TestValidateSaysEverything(t *testing.T) {
	c := DefaultConfig()
	c.Pod, c.Discovery, c.Times.Boot = "", "x", 0
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	var keys []string
	for _, line := range strings.Split(err.Error(), "\n") {
		key, _, _ := strings.Cut(line, ":")
		keys = append(keys, key)
	}
	if d := cmp.Diff([]string{"pod", "provisioning", "provisioning.address", "discovery", "times.boot"}, keys); d != "" {
		t.Error(d)
	}
}

// TestExample: the file that is shipped as an example is a good one.
func TestExample(t *testing.T) {
	if _, err := ReadConfig("example.yaml"); err != nil {
		t.Error(err)
	}
}

// FuzzParseRange holds that a range that is accepted is one.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"", "-", "10.0.0.1-10.0.0.9", "10.0.0.9-10.0.0.1", "::1-::2", "10.0.0.1-10.0.0.2-10.0.0.3", "fe80::1%a-b-10.0.0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRange(s)
		if err == nil && (!r[0].Is4() || !r[1].Is4() || r[1].Less(r[0]) || r[0].String()+"-"+r[1].String() != s) {
			t.Errorf("%q is %v", s, r)
		}
	})
}
