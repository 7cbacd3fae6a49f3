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
	Images     string // the image library
	Drivers    string // the directory of the driver binaries
	Interface  string // on the provisioning network, which it addresses itself
	Address    string // CIDR
	Management string // on the management network, addressed by the lab
}

// applianceTemplate is the configuration file that a lab writes for it.
var applianceTemplate = template.Must(template.New("appliance.yaml").Parse(`# Written by "gantry lab up"; changes are lost.
state_dir: {{.StateDir}}
inventory: {{.Inventory}}
images: {{.Images}}
drivers: {{.Drivers}}
api:
  socket: {{.Socket}}
provisioning:
  interface: {{.Interface}}
  address: {{.Address}}
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
	images := l.cfg.Images
	if images == "" {
		images = l.path("images")
	}
	return applianceParams{
		StateDir:   l.path("appliance"),
		Socket:     l.ApplianceSocket(),
		Inventory:  l.InventoryPath(),
		Images:     images,
		Drivers:    filepath.Dir(l.cfg.Appliance),
		Interface:  wire.AppProv,
		Address:    wire.ApplianceProv,
		Management: wire.AppMgmt,
	}
}
