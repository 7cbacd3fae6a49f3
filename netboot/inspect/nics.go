package inspect

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

const netDir = "sys/class/net"

// NICs lists the network interfaces that have a device behind them, by name.
func NICs(root fs.FS) []job.Link {
	pci := regexp.MustCompile(`[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]`)
	var out []job.Link
	for _, n := range names(root, netDir) {
		dir := path.Join(netDir, n)
		if !exists(root, dir, "device") {
			continue // loopback, bridge, bond, tunnel
		}
		l := job.Link{
			Name: n, MAC: text(root, dir, "address"), Driver: path.Base("/" + link(root, dir, "device/driver")),
			MTU: int(number(root, dir, "mtu")), Up: text(root, dir, "carrier") == "1",
		}
		l.Driver = strings.TrimPrefix(l.Driver, "/")
		// The speed is -1 where the driver knows none.
		l.Mbps = int(max(number(root, dir, "speed"), 0))
		if addrs := pci.FindAllString(link(root, dir), -1); len(addrs) > 0 {
			l.PCI = addrs[len(addrs)-1]
		}
		out = append(out, l)
	}
	return out
}
