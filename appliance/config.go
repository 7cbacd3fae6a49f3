package appliance

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/yamlfile"
)

// Config is an appliance's configuration file. Every path may be relative to
// the file's own folder.
type Config struct {
	// Pod is the pod's name, a DNS label.
	Pod string `yaml:"pod"`
	// StateDir holds everything that must survive: the store, the images, the
	// machines' logs and the keys.
	StateDir string `yaml:"state_dir"`
	// RunDir holds sockets; at most 52 bytes long, as their paths are bounded.
	RunDir string `yaml:"run_dir"`
	// Provisioning is the network that machines boot from.
	Provisioning Provisioning `yaml:"provisioning"`
	DHCP         DHCP         `yaml:"dhcp"`
	HTTP         HTTP         `yaml:"http"`
	API          API          `yaml:"api"`
	Drivers      Drivers      `yaml:"drivers"`
	Netboot      Netboot      `yaml:"netboot"`
	Images       Images       `yaml:"images"`
	Discovery    Discovery    `yaml:"discovery"`
	Inventory    string       `yaml:"inventory"`
	Alerts       Alerts       `yaml:"alerts"`
	Times        Times        `yaml:"times"`
	// Keep is how long requests that have ended and alerts that were resolved are
	// kept.
	Keep Duration `yaml:"keep"`
}

// Provisioning is the appliance's own interface on the provisioning network:
// either Device, untagged, or VLAN tagged on Parent, which the appliance makes.
type Provisioning struct {
	Device  string `yaml:"device"`
	Parent  string `yaml:"parent"`
	VLAN    int    `yaml:"vlan"`
	MTU     int    `yaml:"mtu"`
	Address string `yaml:"address"` // CIDR
}

// DHCP is what the DHCP server gives out.
type DHCP struct {
	// Machines is the range that machines of the inventory get, Pool the range
	// for all others; FIRST-LAST.
	Machines string   `yaml:"machines"`
	Pool     string   `yaml:"pool"`
	Router   string   `yaml:"router"`
	DNS      []string `yaml:"dns"`
	NTP      []string `yaml:"ntp"`
	Domain   string   `yaml:"domain"`
	// Lease is how long an installed system's lease is.
	Lease Duration `yaml:"lease"`
	// Proxy leaves addresses to another DHCP server.
	Proxy bool `yaml:"proxy"`
	// Relayed are networks behind relays.
	Relayed []Relayed `yaml:"relayed"`
}

// Relayed is a network whose DHCP packets come through a relay.
type Relayed struct {
	Prefix string `yaml:"prefix"`
	Pool   string `yaml:"pool"`
	Router string `yaml:"router"`
}

// HTTP is the server that booting machines talk to.
type HTTP struct {
	Port uint16 `yaml:"port"`
	// ImageRate bounds what all image transfers take together, in bytes a second;
	// 0 is no bound. Boot files are never held back.
	ImageRate int64 `yaml:"image_rate"`
}

// API is where the local API is served.
type API struct {
	Socket string `yaml:"socket"`
	// Group is who may use the socket besides root, by name or number; empty
	// leaves it to root's group.
	Group string `yaml:"group"`
	// TLS is optional.
	TLS *TLS `yaml:"tls"`
}

// TLS serves the API over TLS to holders of a token.
type TLS struct {
	Listen string `yaml:"listen"`
	Cert   string `yaml:"cert"`
	Key    string `yaml:"key"`
	Tokens string `yaml:"tokens"`
}

// Images is what image imports may do.
type Images struct {
	// LocalURLs allows images to be fetched from loopback and link-local
	// addresses, where services are that trust whoever is on the same host.
	LocalURLs bool `yaml:"local_urls"`
}

// Drivers says where the driver binaries are, and whom they run as.
type Drivers struct {
	Dir string `yaml:"dir"`
	// User is whom drivers run as, by name or number; empty is as the appliance
	// does, which as root is warned of.
	User string `yaml:"user"`
}

// Netboot says where the files are that machines boot.
type Netboot struct {
	// Dir holds vmlinuz, vmlinuz-bios and initrd.img; Loaders holds iPXE's binaries.
	Dir     string `yaml:"dir"`
	Loaders string `yaml:"loaders"`
	// Args are further kernel parameters, such as console=ttyS0,115200.
	Args []string `yaml:"args"`
}

// Discovery says what becomes of machines that are in no inventory: inspect,
// record or ignore.
type Discovery = boot.Discovery

// Alerts says who is told when a person is needed; the log always is.
type Alerts struct {
	Webhook *Webhook `yaml:"webhook"`
	SMTP    *SMTP    `yaml:"smtp"`
}

// Webhook takes alerts as JSON.
type Webhook struct {
	URL string `yaml:"url"`
	// KeyFile holds the key of the signature.
	KeyFile string `yaml:"key_file"`
}

// SMTP takes alerts as mail.
type SMTP struct {
	Server       string   `yaml:"server"`
	From         string   `yaml:"from"`
	To           []string `yaml:"to"`
	User         string   `yaml:"user"`
	PasswordFile string   `yaml:"password_file"`
}

// Times bounds the work on machines.
type Times struct {
	Boot   Duration `yaml:"boot"`
	Image  Duration `yaml:"image"`
	Wipe   Duration `yaml:"wipe"`
	Verify Duration `yaml:"verify"`
	Settle Duration `yaml:"outlet_settle"`
	OffFor Duration `yaml:"outlet_off_for"`
	LLDP   Duration `yaml:"lldp"`
	Lost   Duration `yaml:"agent_lost"`
}

// Duration is a time.Duration in Go's notation, such as 90s or 2h.
type Duration time.Duration

// minLease is the shortest lease of an installed system that makes sense.
const minLease = time.Minute

// maxLease is the longest that the DHCP server gives.
const maxLease = 365 * 24 * time.Hour

// minKeep is the shortest time for which what has ended is kept: who follows a
// request must find it.
const minKeep = time.Hour

// String is Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s or 2h", b)
	}
	*d = Duration(v)
	return nil
}

// DefaultConfig is the configuration before a file is read.
func DefaultConfig() Config {
	return Config{
		Pod: "pod", StateDir: "/var/lib/gantry", RunDir: "/run/gantry", Discovery: boot.DiscoverInspect,
		HTTP:    HTTP{Port: 8067},
		API:     API{Socket: "/run/gantry/appliance.sock"},
		Drivers: Drivers{Dir: "/usr/lib/gantry/drivers"},
		Netboot: Netboot{Dir: "/usr/lib/gantry/netboot", Loaders: "/usr/lib/ipxe"},
		DHCP:    DHCP{Lease: Duration(12 * time.Hour)},
		Times: Times{Boot: Duration(10 * time.Minute), Image: Duration(2 * time.Hour), Wipe: Duration(72 * time.Hour),
			Verify: Duration(15 * time.Minute), Settle: Duration(90 * time.Second), OffFor: Duration(2 * time.Second),
			LLDP: Duration(31 * time.Second), Lost: Duration(60 * time.Second)},
		Keep: Duration(90 * 24 * time.Hour),
	}
}

// ReadConfig reads a configuration file over the defaults. Unknown keys are
// errors that name the line; no error quotes the file, which may have secrets in
// it.
func ReadConfig(path string) (Config, error) {
	c := DefaultConfig()
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	if err := yamlfile.Decode(b, &c); err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	base := filepath.Dir(path)
	for _, p := range c.paths() {
		if *p == "" || filepath.IsAbs(*p) {
			continue
		}
		if *p, err = filepath.Abs(filepath.Join(base, *p)); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// paths are all paths of c, which may be relative to its file.
func (c *Config) paths() []*string {
	list := []*string{&c.StateDir, &c.RunDir, &c.API.Socket, &c.Drivers.Dir, &c.Netboot.Dir, &c.Netboot.Loaders, &c.Inventory}
	if t := c.API.TLS; t != nil {
		list = append(list, &t.Cert, &t.Key, &t.Tokens)
	}
	if w := c.Alerts.Webhook; w != nil {
		list = append(list, &w.KeyFile)
	}
	if m := c.Alerts.SMTP; m != nil {
		list = append(list, &m.PasswordFile)
	}
	return list
}
