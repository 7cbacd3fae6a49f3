package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/boot"
	"github.com/gantry-pod/gantry/appliance/machine"
	pxeboot "github.com/gantry-pod/gantry/pxe/boot"
	"github.com/gantry-pod/gantry/pxe/dhcp"
	"github.com/gantry-pod/gantry/pxe/httpboot"
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
	host       func(mac [6]byte) (boot.Host, bool)
	claims     claims
	post       func(alert.Alert)
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
	if err := s.claims.check(mac, from); err != nil {
		if !errors.Is(err, errNotTheirs) {
			return nil, err
		}
		s.refused(mac, from, err)
		return httpboot.Wait{For: waitFor, Reason: errNotTheirs.Error()}, nil
	}
	p, err := s.guide.Script(ctx, mac, from)
	if errors.Is(err, boot.ErrStrangers) {
		s.post(alert.Alert{Code: "too-many-strangers", Subject: "discovery", Detail: err.Error(),
			Action: "accept the new machines, or delete those that are none of yours; then find out where they come from"})
	}
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

// refused tells people that somebody wanted the script of one of our machines.
// Of a MAC address that is nobody's they are not told: it can be made up.
func (s scripter) refused(mac net.HardwareAddr, from netip.Addr, why error) {
	h, known := s.host([6]byte(mac))
	if !known {
		return
	}
	s.post(alert.Alert{Code: "script-refused", Subject: "machine/" + h.Machine,
		Detail: fmt.Sprintf("somebody at %s wanted the boot script of machine %s: %v", from, h.Machine, why),
		Action: "if you did not try that yourself, find out what has that address"})
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

// bootServer is the HTTP server of booting machines and their agents, on the
// provisioning interface only.
type bootServer struct {
	addr    netip.AddrPort
	device  string
	handler http.Handler
	log     *slog.Logger
}

// run serves until ctx ends, or until the interface is gone or made anew.
func (b bootServer) run(ctx context.Context) error {
	l, err := httpboot.Listen(ctx, b.addr, b.device)
	if err != nil {
		return err
	}
	defer l.Close()
	server := httpboot.Server(httpboot.Guard(b.addr.Addr(), b.handler), b.log)
	defer server.Close()
	return (&listening{server, httpboot.Limit(l, 4096, 64), nil}).run(ctx)
}
