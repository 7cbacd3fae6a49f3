package boot

import (
	"fmt"
	"net"
	"strings"
)

// Paths under the boot HTTP server.
const (
	// Prefix begins every path of the boot HTTP server.
	Prefix = "/boot/"
	// LoaderPrefix begins the path of a loader, for UEFI HTTP boot.
	LoaderPrefix = "/boot/loader/"

	scriptSuffix = ".ipxe"
)

// ScriptPath returns the path of a machine's iPXE script, /boot/52-54-00-aa-bb-cc.ipxe:
// the address in lower case with hyphens, as iPXE's ${net0/mac:hexhyp} prints it.
func ScriptPath(mac net.HardwareAddr) string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(Prefix)+3*len(mac)+len(scriptSuffix))
	b = append(b, Prefix...)
	for i, x := range mac {
		if i > 0 {
			b = append(b, '-')
		}
		b = append(b, hex[x>>4], hex[x&15])
	}
	return string(append(b, scriptSuffix...))
}

// ParseScriptPath returns the MAC address in a path made by [ScriptPath]. It
// accepts exactly such paths: one machine has one script path.
func ParseScriptPath(path string) (net.HardwareAddr, error) {
	name, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return nil, fmt.Errorf("boot: script path %q: does not begin with %s", path, Prefix)
	}
	name, ok = strings.CutSuffix(name, scriptSuffix)
	if !ok {
		return nil, fmt.Errorf("boot: script path %q: does not end with %s", path, scriptSuffix)
	}
	mac, err := net.ParseMAC(name)
	if err != nil {
		return nil, fmt.Errorf("boot: script path %q: %w", path, err)
	}
	if len(mac) != 6 || ScriptPath(mac) != path {
		return nil, fmt.Errorf("boot: script path %q: not a MAC-48 in lower case with hyphens", path)
	}
	return mac, nil
}
