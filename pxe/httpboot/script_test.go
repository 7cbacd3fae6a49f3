package httpboot

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testMAC = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func TestRender(t *testing.T) {
	for _, tc := range []struct {
		name string
		plan Plan
		want string
	}{
		{"netboot agent", NetbootAgent{Kernel: "/boot/netboot/vmlinuz", Initrds: []string{"/boot/netboot/initramfs", "/boot/netboot/modules"},
			Args: []string{"console=ttyS0,115200", "gantry.token=abc", "quiet"}}, `#!ipxe
echo Gantry: starting the netboot agent
kernel /boot/netboot/vmlinuz initrd=initrd0 initrd=initrd1 console=ttyS0,115200 gantry.token=abc quiet || goto failed
initrd --name initrd0 /boot/netboot/initramfs || goto failed
initrd --name initrd1 /boot/netboot/modules || goto failed
boot || goto failed
:failed
echo Gantry: the netboot agent could not be loaded, trying again
:again
sleep 10
chain --replace --autofree /boot/52-54-00-12-34-56.ipxe || goto again
`},
		{"netboot agent, another kernel for BIOS", NetbootAgent{Kernel: "/k", BIOSKernel: "/kb", Args: []string{"quiet"}}, `#!ipxe
echo Gantry: starting the netboot agent
set kernel /k
iseq ${platform} efi || set kernel /kb
kernel ${kernel} quiet || goto failed
boot || goto failed
:failed
echo Gantry: the netboot agent could not be loaded, trying again
:again
sleep 10
chain --replace --autofree /boot/52-54-00-12-34-56.ipxe || goto again
`},
		{"local disk", LocalDisk{}, `#!ipxe
echo Gantry: starting this machine's own disk
iseq ${platform} efi || goto bios
chain /boot/loader/localdisk.efi || exit 1
:bios
sanboot --no-describe --drive 0x80 ||
sanboot --no-describe --drive 0x81 ||
sanboot --no-describe --drive 0x82 ||
sanboot --no-describe --drive 0x83 ||
echo Gantry: no disk could be started, leaving it to the firmware
exit 1
`},
		{"wait", Wait{1500 * time.Millisecond, "no image\nyet ${net0/ip} || shell; # \\"}, `#!ipxe
echo Gantry: waiting: no image yet ?{net0/ip} ?? shell? ? ?
:again
sleep 2
chain --replace --autofree /boot/52-54-00-12-34-56.ipxe || goto again
`},
		{"refuse", Refuse{"unknown machine"}, `#!ipxe
echo Gantry: not booting this machine: unknown machine
:again
sleep 60
chain --replace --autofree /boot/52-54-00-12-34-56.ipxe || goto again
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := render(tc.plan, testMAC, "/boot/loader/localdisk.efi")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	ok := NetbootAgent{Kernel: "/k"}
	for name, p := range map[string]Plan{
		"nothing":            nil,
		"no kernel":          NetbootAgent{},
		"relative kernel":    NetbootAgent{Kernel: "k"},
		"line in the kernel": NetbootAgent{Kernel: "/k\nshell"},
		"line in BIOS' one":  NetbootAgent{Kernel: "/k", BIOSKernel: "/k\nshell"},
		"setting in initrd":  NetbootAgent{Kernel: "/k", Initrds: []string{"/${cwduri}"}},
		"space in initrd":    NetbootAgent{Kernel: "/k", Initrds: []string{"/a b"}},
		"empty argument":     NetbootAgent{Kernel: "/k", Args: []string{""}},
		"line in argument":   NetbootAgent{Kernel: "/k", Args: []string{"a\nshell"}},
		"return in argument": NetbootAgent{Kernel: "/k", Args: []string{"a\rb"}},
		"setting":            NetbootAgent{Kernel: "/k", Args: []string{"a=${net0/ip}"}},
		"space":              NetbootAgent{Kernel: "/k", Args: []string{"a b"}},
		"operator":           NetbootAgent{Kernel: "/k", Args: []string{"a", "||", "shell"}},
		"joined lines":       NetbootAgent{Kernel: "/k", Args: []string{`a\`}},
		"not ASCII":          NetbootAgent{Kernel: "/k", Args: []string{"hostname=größe"}},
		"too long":           NetbootAgent{Kernel: "/k", Args: []string{"a=" + strings.Repeat("x", 2048)}},
	} {
		if got, err := render(p, testMAC, ""); err == nil {
			t.Errorf("%s: rendered as %q", name, got)
		}
	}
	if _, err := render(NetbootAgent{Kernel: "/k", Args: []string{"gantry.token=sec\nret"}}, testMAC, ""); err == nil || strings.Contains(err.Error(), "sec") {
		t.Errorf("the error tells a value, which may be secret: %v", err)
	}
	if _, err := render(ok, testMAC, ""); err != nil {
		t.Error(err)
	}
}

// FuzzRender: whatever a plan holds, its script has the lines it should have
// and expands nothing but the platform.
func FuzzRender(f *testing.F) {
	f.Add("/boot/netboot/vmlinuz", "/i", "console=ttyS0", "reason")
	f.Add("/k\n", "/${x}", "a\\", "a\nshell")
	f.Add("/k", "/i", "||", "${shell}")
	f.Fuzz(func(t *testing.T, kernel, initrd, arg, reason string) {
		for _, p := range []struct {
			plan  Plan
			lines int
		}{{NetbootAgent{Kernel: kernel, Initrds: []string{initrd}, Args: []string{arg}}, 10}, {Wait{time.Second, reason}, 5}, {Refuse{reason}, 5}} {
			text, err := render(p.plan, testMAC, "")
			if err != nil {
				continue
			}
			if n := strings.Count(text, "\n"); n != p.lines || strings.ContainsAny(text, "\r\\\x00") || strings.Contains(text, "${") {
				t.Fatalf("%d lines, want %d, or a dangerous character: %q", n, p.lines, text)
			}
			if _, isWait := p.plan.(Wait); isWait && strings.Count(text, "||") != 1 {
				t.Fatalf("operators: %q", text)
			}
		}
	})
}
