package appliance

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/machine"
	pxeboot "github.com/gantry-pod/gantry/pxe/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/pxe/tftp"
)

// oracle answers the DHCP server from the guide's memory.
type oracle struct{ guide *boot.Guide }

// Host implements dhcp.Oracle.
func (o oracle) Host(mac dhcp.MAC) (dhcp.Reservation, bool) {
	h, ok := o.guide.Host(mac)
	return dhcp.Reservation{Addr: h.Addr, Hostname: h.Hostname}, ok
}

// Reserved implements dhcp.Oracle.
func (o oracle) Reserved(a netip.Addr) bool { return o.guide.Reserved(a) }

// Want implements dhcp.Oracle.
func (o oracle) Want(mac dhcp.MAC) pxeboot.Want {
	if h, _ := o.guide.Host(mac); h.Boot {
		return pxeboot.WantScript
	}
	return pxeboot.WantNothing
}

// scripter renders the guide's plans for the HTTP boot server.
type scripter struct {
	guide      *boot.Guide
	biosKernel string // see biosKernel
	args       []string
}

// agentArgs are the kernel parameters of every netboot agent. A serial console
// of 115,200 baud would take seconds to print what the kernel says of itself,
// and the kernel's tests of its ciphers another: nothing here depends on those,
// nor on what is left out (key derivation and encrypted keys, which also wait for
// the whole initramfs; kprobe events; compressed swap): half a second in QEMU.
// A kernel that panics restarts the machine rather than wait for a person.
var agentArgs = [...]string{"quiet", "loglevel=4", "panic=10", "cryptomgr.notests",
	"initcall_blacklist=crypto_kdf108_init,init_encrypted,init_kprobe_trace,init_zswap"}

// waitFor is how long a machine that has nothing to boot waits before it asks
// again: it is then taken into use without a power cycle.
const waitFor = 10 * time.Second

// Script implements httpboot.Scripter.
func (s scripter) Script(ctx context.Context, mac net.HardwareAddr, from netip.Addr) (httpboot.Plan, error) {
	p, err := s.guide.Script(ctx, mac, from)
	if err != nil {
		return nil, err
	}
	switch p.Boot {
	case machine.BootAgent:
		return httpboot.NetbootAgent{Kernel: "/boot/netboot/vmlinuz", BIOSKernel: s.biosKernel, Initrds: []string{"/boot/netboot/initrd.img"},
			Args: slices.Concat(agentArgs[:], s.args, p.Args)}, nil
	case machine.BootDisk:
		return httpboot.LocalDisk{}, nil
	}
	return httpboot.Wait{For: waitFor, Reason: p.Reason}, nil
}

// diskLoader is the URL path of the program that starts the disk of a machine
// with UEFI, if it is among the loaders; without it such a machine works through
// its firmware's other boot entries first.
func diskLoader(dir string) string {
	const name = "localdisk.efi"
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		return ""
	}
	return "/boot/loader/" + name
}

// biosKernel is the URL path of the kernel that was repacked for BIOS machines,
// which start it seconds sooner, if it is there; the stock one starts too.
func biosKernel(dir string) string {
	const name = "vmlinuz-bios"
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		return ""
	}
	return "/boot/netboot/" + name
}

// watcher turns what the boot services see into sightings of machines.
type watcher struct {
	sightings *boot.Sightings

	mu    sync.Mutex // guards addrs
	addrs map[netip.Addr]dhcp.MAC
}

// maxAddrs bounds what strangers can make the watcher remember.
const maxAddrs = 65536

func newWatcher(s *boot.Sightings) *watcher {
	return &watcher{sightings: s, addrs: map[netip.Addr]dhcp.MAC{}}
}

// dhcp takes the DHCP server's events.
func (w *watcher) dhcp(e dhcp.Event) {
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
