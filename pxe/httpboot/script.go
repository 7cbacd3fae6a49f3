package httpboot

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// maxCommandLine is the longest kernel command line that x86 takes
// (COMMAND_LINE_SIZE is 2048 with the NUL).
const maxCommandLine = 2047

// refusedPoll is how often a refused machine asks again.
const refusedPoll = time.Minute

// render writes the iPXE script (ipxe.org/scripting) of a plan. The error
// means that the plan holds a value that must not get into a script.
func render(p Plan, mac net.HardwareAddr, diskLoader string) (string, error) {
	var lines []string
	switch p := p.(type) {
	case NetbootAgent:
		boot, err := netbootLines(p, boot.ScriptPath(mac))
		if err != nil {
			return "", err
		}
		lines = boot
	case LocalDisk:
		lines = localDiskLines(diskLoader)
	case Wait:
		lines = pollLines("Gantry: waiting: "+printable(p.Reason), p.For, boot.ScriptPath(mac))
	case Refuse:
		lines = pollLines("Gantry: not booting this machine: "+printable(p.Reason), refusedPoll, boot.ScriptPath(mac))
	default:
		return "", fmt.Errorf("plan %T is not known", p)
	}
	return "#!ipxe\n" + strings.Join(lines, "\n") + "\n", nil
}

// netbootLines load and start a kernel. Paths are without a host: iPXE takes
// them relative to the script's own URL. Each initrd is named on the command
// line as well, because a kernel started by UEFI asks for its initrds by name.
// A failed download is said and tried again, never left at a prompt.
func netbootLines(p NetbootAgent, self string) ([]string, error) {
	if p.BIOSKernel == "" {
		p.BIOSKernel = p.Kernel
	}
	for _, path := range append([]string{p.Kernel, p.BIOSKernel}, p.Initrds...) {
		if err := checkPath(path); err != nil {
			return nil, err
		}
	}
	var args, initrds []string
	for i, path := range p.Initrds {
		name := fmt.Sprintf("initrd%d", i)
		args = append(args, "initrd="+name)
		initrds = append(initrds, fmt.Sprintf("initrd --name %s %s || goto failed", name, path))
	}
	for _, a := range p.Args {
		if err := checkArg(a); err != nil {
			return nil, err
		}
		args = append(args, a)
	}
	command := strings.Join(args, " ")
	if len(command) > maxCommandLine {
		return nil, fmt.Errorf("kernel arguments are %d bytes together, at most %d are possible", len(command), maxCommandLine)
	}
	lines := append([]string{"echo Gantry: starting the netboot agent"}, kernelLines(p, command)...)
	lines = append(lines, initrds...)
	lines = append(lines, "boot || goto failed", ":failed")
	return append(lines, pollLines("Gantry: the netboot agent could not be loaded, trying again", 10*time.Second, self)...), nil
}

// kernelLines load the kernel that suits what started the machine.
func kernelLines(p NetbootAgent, command string) []string {
	if p.BIOSKernel == p.Kernel {
		return []string{strings.TrimSpace("kernel "+p.Kernel+" "+command) + " || goto failed"}
	}
	return []string{
		"set kernel " + p.Kernel,
		"iseq ${platform} efi || set kernel " + p.BIOSKernel,
		strings.TrimSpace("kernel ${kernel} "+command) + " || goto failed",
	}
}

// localDiskLines start the machine's own disk.
//
// With BIOS, leaving iPXE for the firmware's next boot device depends on the
// PXE ROM that started it, and some machines hang or start over: so a disk's
// boot sector is started by iPXE itself (ipxe.org/cmd/sanboot), and leaving is
// what remains if that fails. The system need not be on the first disk: the
// agent chooses by size, or as it was told. iPXE refuses a disk without a boot
// sector's signature, and all but the system's were wiped, so the first four
// are tried in turn. --no-describe: there is no SAN.
//
// With UEFI, a loader of ours finds the disk's own and starts it, if there is
// one (Config.DiskLoader). Otherwise iPXE leaves with a status other than 0: a
// boot manager takes success to mean that the user has come back from the
// system and shows its menu (UEFI 2.10, 3.1.1); after a failure it tries the
// next entry. That is slow where the next entries are IPv6 PXE and HTTP boot
// of the same card: a minute each with OVMF.
func localDiskLines(diskLoader string) []string {
	efi := "exit 1"
	if diskLoader != "" {
		efi = "chain " + diskLoader + " || exit 1"
	}
	return []string{
		"echo Gantry: starting this machine's own disk",
		"iseq ${platform} efi || goto bios",
		efi,
		":bios",
		"sanboot --no-describe --drive 0x80 ||",
		"sanboot --no-describe --drive 0x81 ||",
		"sanboot --no-describe --drive 0x82 ||",
		"sanboot --no-describe --drive 0x83 ||",
		"echo Gantry: no disk could be started, leaving it to the firmware",
		"exit 1",
	}
}

// pollLines say something and fetch the script again after a while, for as
// long as it takes.
func pollLines(say string, wait time.Duration, self string) []string {
	seconds := int((min(max(wait, time.Second), time.Hour) + time.Second - 1) / time.Second)
	return []string{
		"echo " + say,
		":again",
		fmt.Sprintf("sleep %d", seconds),
		"chain --replace --autofree " + self + " || goto again",
	}
}

// checkArg refuses an argument that iPXE would not hand to the kernel as it
// is: white space and control characters end it, "${" begins a setting, a
// backslash at a line's end joins lines, and these words are operators.
func checkArg(a string) error {
	for _, c := range []byte(a) {
		if c <= ' ' || c > '~' || c == '\\' {
			return fmt.Errorf("kernel argument %q has the character %q", redact(a), c)
		}
	}
	switch {
	case a == "":
		return fmt.Errorf("kernel argument is empty")
	case strings.Contains(a, "${"):
		return fmt.Errorf("kernel argument %q has a ${", redact(a))
	case a == "||" || a == "&&" || a == ";" || a[0] == '#':
		return fmt.Errorf("kernel argument %q is an operator of iPXE", redact(a))
	}
	return nil
}

// redact keeps an argument's name and drops its value, which may be a token.
func redact(a string) string {
	name, _, has := strings.Cut(a, "=")
	if has {
		return name + "=…"
	}
	return name
}

// checkPath refuses what is no plain absolute URL path.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf("URL path %q does not begin with a slash", p)
	}
	for _, c := range []byte(p) {
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/._-~%+=@:,?&", c) >= 0
		if !plain {
			return fmt.Errorf("URL path %q has the character %q", p, c)
		}
	}
	return nil
}

// printable makes a text safe to echo: one line of ASCII without iPXE's
// operators and expansions, and not longer than two lines of a console.
func printable(s string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~' || strings.ContainsRune("$|&;#\\", r):
			return '?'
		}
		return r
	}, s)
	return safe[:min(len(safe), 150)]
}
