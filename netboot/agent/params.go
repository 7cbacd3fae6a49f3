package agent

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Params are the kernel command line's parameters for the agent. Token is
// secret: it opens one boot of one machine.
type Params struct {
	Server, Machine, Token, BootIF string
}

// ParseParams reads /proc/cmdline's text. Server, Machine and Token must be
// there; BootIF may be missing, and then any NIC with a DHCP server will do.
func ParseParams(cmdline string) (Params, error) {
	var p Params
	for _, w := range strings.Fields(cmdline) {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case job.ParamServer:
			p.Server = strings.TrimRight(v, "/")
		case job.ParamMachine:
			p.Machine = v
		case job.ParamToken:
			p.Token = v
		case job.ParamBootIF:
			p.BootIF = v
		}
	}
	return p, p.validate()
}

func (p *Params) validate() error {
	u, err := url.Parse(p.Server)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Path != "" {
		return fmt.Errorf("kernel parameter %s=%q is not http://HOST:PORT", job.ParamServer, p.Server)
	}
	if p.Machine == "" {
		return fmt.Errorf("kernel parameter %s is missing", job.ParamMachine)
	}
	if p.Token == "" {
		return fmt.Errorf("kernel parameter %s is missing", job.ParamToken)
	}
	if p.BootIF == "" {
		return nil
	}
	mac, err := net.ParseMAC(strings.ReplaceAll(p.BootIF, "-", ":"))
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("kernel parameter %s=%q is not a MAC address", job.ParamBootIF, p.BootIF)
	}
	p.BootIF = mac.String()
	return nil
}
