package lab

import (
	"cmp"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/gantry-pod/gantry/lab/wire"
)

// applianceParams is what an appliance in a lab must be told.
type applianceParams struct {
	Pod       string
	StateDir  string // its store, images and logs
	RunDir    string // its sockets
	Socket    string // its API's Unix socket
	Inventory string // the pod's assets
	Drivers   string // the directory of the driver binaries
	Netboot   string // the directory of the netboot kernel and initramfs
	Interface string // on the provisioning network, which it addresses itself
	Address   string // CIDR
	Machines  string // range of addresses for machines of the inventory
	Pool      string // range of addresses for all others
	Router    string // the machines' default gateway
	Extra     string // YAML to end with
}

// applianceTemplate is the configuration file that a lab writes for it.
var applianceTemplate = template.Must(template.New("appliance.yaml").Parse(`# Written by "gantry lab up"; changes are lost.
pod: {{.Pod}}
state_dir: {{.StateDir}}
run_dir: {{.RunDir}}
inventory: {{.Inventory}}
provisioning:
  device: {{.Interface}}
  address: {{.Address}}
dhcp:
  machines: {{.Machines}}
  pool: {{.Pool}}
  router: {{.Router}}
  domain: {{.Pod}}.gantry
api:
  socket: {{.Socket}}
drivers:
  dir: {{.Drivers}}
netboot:
  dir: {{.Netboot}}
  loaders: {{.Netboot}}/loaders
  args: ["console=ttyS0,115200"]
{{.Extra}}`))

// defaultExtra suits a lab: nothing in it speaks LLDP, and an emulated machine
// drains at once.
const defaultExtra = `times:
  lldp: 0s
  outlet_off_for: 200ms
`

// applianceConfig is the text of the appliance's configuration file.
func applianceConfig(p applianceParams) string {
	var text strings.Builder
	if err := applianceTemplate.Execute(&text, p); err != nil {
		panic(err) // the template and its parameters are both above
	}
	return text.String()
}

// ApplianceConfigPath is the configuration file that a lab writes for its
// appliance.
func (l *Lab) ApplianceConfigPath() string { return l.path("appliance.yaml") }

// ApplianceSocket is the Unix socket of the appliance's API.
func (l *Lab) ApplianceSocket() string {
	return filepath.Join(RunDir(l.cfg.Name), "appliance.sock")
}

func (l *Lab) applianceParams() applianceParams {
	beside := func(set, name string) string {
		if set != "" || l.cfg.Appliance == "" {
			return set
		}
		return filepath.Join(filepath.Dir(l.cfg.Appliance), name)
	}
	return applianceParams{
		Pod:       l.cfg.Name,
		StateDir:  l.path("appliance"),
		RunDir:    filepath.Join(RunDir(l.cfg.Name), "appliance"),
		Socket:    l.ApplianceSocket(),
		Inventory: l.InventoryPath(),
		Drivers:   beside(l.cfg.Drivers, ""),
		Netboot:   beside(l.cfg.Netboot, filepath.Join("..", "netboot")),
		Interface: wire.AppProv,
		Address:   wire.ApplianceProv,
		Machines:  "10.77.0.10-10.77.0.99",
		Router:    strings.TrimSuffix(wire.ApplianceProv, "/24"),
		Pool:      "10.77.0.100-10.77.0.250",
		Extra:     cmp.Or(l.cfg.ApplianceExtra, defaultExtra),
	}
}
