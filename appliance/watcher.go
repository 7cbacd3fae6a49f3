package appliance

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/pxe/tftp"
)

// watcher turns what the boot services see into sightings of machines.
type watcher struct {
	sightings *boot.Sightings
	host      func(mac [6]byte) (boot.Host, bool)
	post      func(alert.Alert) // must not block

	mu    sync.Mutex // guards addrs
	addrs map[netip.Addr]dhcp.MAC
}

// maxAddrs bounds what strangers can make the watcher remember.
const maxAddrs = 65536

func newWatcher(s *boot.Sightings, host func([6]byte) (boot.Host, bool), post func(alert.Alert)) *watcher {
	return &watcher{sightings: s, host: host, post: post, addrs: map[netip.Addr]dhcp.MAC{}}
}

// trouble tells people what DHCP cannot mend.
func (w *watcher) trouble(e dhcp.Event) {
	switch e.Kind {
	case dhcp.InUse:
		a := alert.Alert{Code: "address-in-use", Subject: "address/" + e.Addr.String(),
			Detail: fmt.Sprintf("%s declined the address %s that it was given: something else on the network has it", net.HardwareAddr(e.MAC[:]), e.Addr),
			Action: "find what else uses that address, or that MAC address"}
		if h, known := w.host(e.MAC); known {
			a.Subject = "machine/" + h.Machine
		}
		w.post(a)
	case dhcp.Exhausted:
		w.post(alert.Alert{Code: "pool-exhausted", Subject: "network/" + e.Subnet.String(),
			Detail: fmt.Sprintf("no address was left in %s for %s", e.Subnet, net.HardwareAddr(e.MAC[:])),
			Action: "enlarge that network's pool in the appliance's configuration, or find out who takes its addresses"})
	}
}

// dhcp takes the DHCP server's events.
func (w *watcher) dhcp(e dhcp.Event) {
	w.trouble(e)
	if e.Kind != dhcp.Offered && e.Kind != dhcp.Acknowledged {
		return
	}
	if e.Kind == dhcp.Acknowledged {
		w.mu.Lock()
		if len(w.addrs) >= maxAddrs {
			clear(w.addrs)
		}
		w.addrs[e.Addr] = e.MAC
		w.mu.Unlock()
	}
	switch {
	case e.Client.IPXE:
		w.sightings.Saw(net.HardwareAddr(e.MAC[:]), boot.SawLoader)
	case e.Client.PXEClient || e.Client.HTTPClient:
		w.sightings.Saw(net.HardwareAddr(e.MAC[:]), boot.SawFirmware)
	}
}

// tftp takes the TFTP server's transfers.
func (w *watcher) tftp(t tftp.Transfer) {
	if t.Err == nil {
		w.sawAddr(t.Peer.Addr().Unmap(), boot.SawLoader)
	}
}

// http takes the boot HTTP server's requests.
func (w *watcher) http(a httpboot.Access) {
	switch {
	case a.Status >= 300 || a.Method != "GET":
	case a.MAC != nil:
		w.sightings.Saw(a.MAC, boot.SawScript)
	case strings.HasSuffix(a.Path, "/vmlinuz"), strings.HasSuffix(a.Path, "/vmlinuz-bios"):
		w.sawAddr(a.Client, boot.SawKernel)
	case strings.HasSuffix(a.Path, "/initrd.img"):
		w.sawAddr(a.Client, boot.SawInitrd)
	}
}

func (w *watcher) sawAddr(a netip.Addr, what string) {
	w.mu.Lock()
	mac, ok := w.addrs[a]
	w.mu.Unlock()
	if ok {
		w.sightings.Saw(net.HardwareAddr(mac[:]), what)
	}
}
