//go:build qemu

package httpboot_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/pxe/httpboot"
	"github.com/gantry-pod/gantry/pxe/internal/netnstest"
	"github.com/gantry-pod/gantry/pxe/ra"
	"github.com/gantry-pod/gantry/pxe/tftp"
)

// These tests let real firmware and Debian's iPXE in QEMU meet our TFTP, HTTP
// and router advertisements in a network namespace; DHCP is dnsmasq's,
// so that what is found here does not depend on our own DHCP server.

const machineMAC = "52:54:00:12:34:56"

// diskPlan says that every machine boots its own disk.
type diskPlan struct{}

func (diskPlan) Script(context.Context, net.HardwareAddr, netip.Addr) (httpboot.Plan, error) {
	return httpboot.LocalDisk{}, nil
}

// mark is something that happened, and when.
type mark struct {
	what string
	at   time.Time
}

// pod is a provisioning network with its services.
type pod struct {
	t   *testing.T
	dir string
	mu  sync.Mutex // guards marks
	all []mark
}

func (p *pod) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, mark{what, time.Now()})
	p.t.Log(time.Now().Format("05.000"), what)
}

// last returns when something happened last.
func (p *pod) last(what string) time.Time {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.all) - 1; i >= 0; i-- {
		if strings.Contains(p.all[i].what, what) {
			return p.all[i].at
		}
	}
	p.t.Fatalf("%q did not happen", what)
	return time.Time{}
}

func newPod(t *testing.T) *pod {
	t.Helper()
	for _, args := range []string{"link add br0 type bridge", "addr add 10.67.0.1/24 dev br0", "link set br0 up",
		"tuntap add tap0 mode tap", "link set tap0 master br0", "link set tap0 up"} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	p := &pod{t: t, dir: t.TempDir()}
	p.serveHTTP()
	p.serveTFTP()
	p.serveDHCP()
	return p
}

func (p *pod) log() *slog.Logger { return slog.New(slog.NewTextHandler(p.t.Output(), nil)) }

func (p *pod) serveHTTP() {
	loaders := filepath.Join(p.dir, "loaders")
	if err := os.Mkdir(loaders, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if out, err := exec.CommandContext(p.t.Context(), "sh", "localdisk.sh", filepath.Join(loaders, "localdisk.efi")).CombinedOutput(); err != nil {
		p.t.Fatalf("localdisk.sh: %v %s", err, out)
	}
	h, err := httpboot.New(httpboot.Config{Loaders: os.DirFS(loaders), DiskLoader: "/boot/loader/localdisk.efi", OnAccess: func(a httpboot.Access) { p.note("HTTP " + a.Path) }}, diskPlan{}, p.log())
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "10.67.0.1:80")
	if err != nil {
		p.t.Fatal(err)
	}
	srv := httpboot.Server(h, p.log())
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateActive {
			p.note("HTTP request")
		}
	}
	go func() { _ = srv.Serve(httpboot.Limit(l, 100, 10)) }()
	p.t.Cleanup(func() { srv.Close() })
}

func (p *pod) serveTFTP() {
	root, err := tftp.Dir("/usr/lib/ipxe")
	if err != nil {
		p.t.Fatalf("the package ipxe: %v", err)
	}
	srv, err := tftp.New(tftp.Config{Interface: "br0", OnTransfer: func(tr tftp.Transfer) {
		p.note(fmt.Sprintf("TFTP %s blksize %d windowsize %d error %v", tr.Name, tr.BlockSize, tr.Window, tr.Err))
	}}, root, p.log())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	p.t.Cleanup(func() { cancel(); <-done; root.Close() })
}

// serveDHCP runs dnsmasq: firmware gets snponly.efi, iPXE its script and the
// word not to wait for a ProxyDHCP server (option 175, 176).
func (p *pod) serveDHCP() {
	script := "http://10.67.0.1/boot/" + strings.ReplaceAll(machineMAC, ":", "-") + ".ipxe"
	cmd := exec.Command("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--bind-interfaces", "--user=root",
		"--pid-file=", "--dhcp-leasefile="+filepath.Join(p.dir, "leases"), "--log-dhcp", "--log-facility=-", "--no-ping",
		"--dhcp-range=10.67.0.100,10.67.0.200,1h", "--dhcp-userclass=set:ipxe,iPXE", "--dhcp-option-force=encap:175,176,1b",
		"--dhcp-boot=tag:ipxe,"+script, "--dhcp-boot=tag:!ipxe,snponly.efi")
	p.follow(cmd, "DHCP")
}

// follow starts a command and notes its lines as they come.
func (p *pod) follow(cmd *exec.Cmd, name string) {
	p.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.note(name + " " + lines.Text())
		}
	})
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		wg.Wait()
		_ = cmd.Wait()
	})
}

func (p *pod) advertise() {
	r, err := ra.New("br0", p.log())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	p.t.Cleanup(func() { cancel(); <-done })
}

// boot switches a machine on.
func (p *pod) boot(args ...string) {
	base := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512", "-display", "none", "-monitor", "none", "-no-reboot",
		"-serial", "stdio", "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device", "virtio-rng-pci",
		"-drive", "file=" + filepath.Join(p.dir, "disk") + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d,bootindex=2"}
	p.note("power on")
	p.follow(exec.Command("qemu-system-x86_64", append(base, args...)...), "serial")
}

// await waits until something happens.
func (p *pod) await(what string, d time.Duration) {
	p.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		for _, m := range p.all {
			if strings.Contains(m.what, what) {
				p.mu.Unlock()
				return
			}
		}
		p.mu.Unlock()
		if time.Now().After(end) {
			p.t.Fatalf("%q did not happen in %v", what, d)
		}
	}
}

// bootSector writes GANTRY-DISK to the first serial port and halts.
func bootSector() []byte {
	s := make([]byte, 1<<20)
	n := copy(s, []byte{
		0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
		0xbe, 0x1a, 0x7c, // mov si, text
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x0b, // jz stop
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,             // out dx, al
		0xb9, 0x00, 0x40, // mov cx, 0x4000
		0xe2, 0xfe, // loop to itself: let the byte go
		0xeb, 0xf0, // jmp next
		0xf4, 0x90, // stop: hlt; nop
	})
	copy(s[n:], "\r\nGANTRY-DISK\r\n") // text, at 0x7c1a
	s[510], s[511] = 0x55, 0xaa
	return s
}

// bios boots a machine with SeaBIOS and Debian's iPXE option ROM and returns
// the time from its last DHCPACK to its request for a script.
func bios(t *testing.T, p *pod) time.Duration {
	if err := os.WriteFile(filepath.Join(p.dir, "disk"), bootSector(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.boot("-device", "virtio-net-pci,netdev=n,bootindex=1,mac="+machineMAC)
	p.await("HTTP /boot/", 60*time.Second)
	wait := p.last("HTTP request").Sub(p.last("DHCPACK"))
	p.await("GANTRY-DISK", 20*time.Second)
	return wait
}

// TestBIOS: iPXE goes on at once where solicitations are answered, and the
// local-disk plan starts the first disk's boot sector.
func TestBIOS(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	p := newPod(t)
	p.advertise()
	wait := bios(t, p)
	t.Logf("DHCPACK to HTTP request: %v", wait)
	if wait > 3*time.Second {
		t.Errorf("iPXE waited %v between DHCPACK and its script", wait)
	}
}

// TestBIOSSecondDisk: the system is on the second disk, the first is blank.
func TestBIOSSecondDisk(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	p := newPod(t)
	p.advertise()
	second := filepath.Join(p.dir, "second")
	for path, content := range map[string][]byte{filepath.Join(p.dir, "disk"): make([]byte, 1<<20), second: bootSector()} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.boot("-device", "virtio-net-pci,netdev=n,bootindex=1,mac="+machineMAC,
		"-drive", "file="+second+",format=raw,if=none,id=e", "-device", "virtio-blk-pci,drive=e,bootindex=3")
	p.await("GANTRY-DISK", 80*time.Second)
}

// TestBIOSUnanswered is the counter-proof: without answers iPXE waits.
func TestBIOSUnanswered(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	wait := bios(t, newPod(t))
	t.Logf("DHCPACK to HTTP request: %v", wait)
	if wait < 5*time.Second {
		t.Errorf("iPXE waited only %v without an advertisement: the answers are no longer needed", wait)
	}
}

// TestUEFI: OVMF fetches iPXE from our TFTP with a window, iPXE its script, and
// the local-disk plan starts the disk's own boot loader without the firmware's detours.
func TestUEFI(t *testing.T) {
	if !netnstest.Inside(t) {
		return
	}
	p := newPod(t)
	p.advertise()
	espDisk(t, filepath.Join(p.dir, "disk"))
	vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Fatalf("the package ovmf: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "vars"), vars, 0o600); err != nil {
		t.Fatal(err)
	}
	p.boot("-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,file="+filepath.Join(p.dir, "vars"),
		"-device", "virtio-net-pci,netdev=n,bootindex=1,romfile=,mac="+machineMAC)
	p.await("TFTP snponly.efi blksize 1468 windowsize 4 error <nil>", 90*time.Second)
	p.await("HTTP /boot/", 60*time.Second)
	t.Logf("DHCPACK to HTTP request: %v", p.last("HTTP request").Sub(p.last("DHCPACK")))
	p.await("GANTRY-DISK", 30*time.Second)
}

// espDisk makes a disk with a boot loader for UEFI that prints GANTRY-DISK:
// GRUB with nothing but that to do.
func espDisk(t *testing.T, disk string) {
	t.Helper()
	dir := t.TempDir()
	config, loader := filepath.Join(dir, "grub.cfg"), filepath.Join(dir, "BOOTX64.EFI")
	if err := os.WriteFile(config, []byte("echo GANTRY-DISK\nsleep 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-c", config, "-p", "/", "echo", "sleep"},
		{"mformat", "-C", "-i", disk, "-f", "2880", "::"},
		{"mmd", "-i", disk, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", disk, loader, "::/EFI/BOOT/BOOTX64.EFI"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v (packages grub-efi-amd64-bin, grub-common, mtools): %v %s", args, err, out)
		}
	}
}
