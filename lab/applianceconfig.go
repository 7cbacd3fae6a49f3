package lab

import (
	"path/filepath"
	"strings"
	"text/template"

	"github.com/gantry-pod/gantry/lab/wire"
)

// applianceParams is what an appliance in a lab must be told.
type applianceParams struct {
	StateDir   string // its store and cache
	Socket     string // its API's Unix socket
	Inventory  string // the pod's assets
	RunDir     string // its sockets
	Netboot    string // the kernel and initramfs that machines boot
	Drivers    string // the directory of the driver binaries
	Interface  string // on the provisioning network, which it addresses itself
	Address    string // CIDR
	Management string // on the management network, addressed by the lab
}

// applianceTemplate is the configuration file that a lab writes for it.
var applianceTemplate = template.Must(template.New("appliance.yaml").Parse(`# Written by "gantry lab up"; changes are lost.
pod: lab
state_dir: {{.StateDir}}
run_dir: {{.RunDir}}
inventory: {{.Inventory}}
api:
  socket: {{.Socket}}
provisioning:
  device: {{.Interface}}
  address: {{.Address}}
dhcp:
  machines: 10.77.0.101-10.77.0.199
  pool: 10.77.0.200-10.77.0.250
  router: 10.77.0.1
  domain: lab.gantry
drivers:
  dir: {{.Drivers}}
netboot:
  dir: {{.Netboot}}
  # A lab's machines are watched on their serial consoles.
  args: [console=ttyS0,115200]
times:
  # A lab's bridge speaks no LLDP, and its machines drain at once.
  lldp: 0s
  outlet_off_for: 200ms
`))

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
	bin := filepath.Dir(l.cfg.Appliance)
	return applianceParams{
		StateDir:   l.path("appliance"),
		Socket:     l.ApplianceSocket(),
		Inventory:  l.InventoryPath(),
		RunDir:     filepath.Join(RunDir(l.cfg.Name), "appliance"),
		Netboot:    filepath.Join(filepath.Dir(bin), "netboot"),
		Drivers:    bin,
		Interface:  wire.AppProv,
		Address:    wire.ApplianceProv,
		Management: wire.AppMgmt,
	}
}
