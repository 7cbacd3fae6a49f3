package machine

import (
	"fmt"
	"strconv"
)

// Accel is how QEMU runs a guest's instructions.
type Accel string

// The accelerators, see [ProbeAccel].
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// The file descriptors that QEMU inherits: one end of a socket pair each.
const (
	consoleFD = 3
	qmpFD     = 4
)

// sandbox is what QEMU may not do once it runs (seccomp): become another user,
// start programs, change its priority. Whoever is root in a guest and breaks out
// of the emulation is root's process here, and this much less.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// The firmware's files, from Debian's package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// powerOn is what holds for one power-on only.
type powerOn struct {
	accel  Accel
	frozen bool  // start with the processors stopped
	bps    int64 // of each disk, in bytes a second; 0 is no bound
}

// args is QEMU's command line. Paths are relative to the machine's directory.
func (s Spec) args(on powerOn) []string {
	a := []string{
		"-name", "guest=" + s.Name, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
		"-sandbox", sandbox,
		// Without graphics SeaBIOS and the option ROMs write to the serial port.
		"-machine", "q35,graphics=off",
		"-smp", strconv.Itoa(s.CPUs), "-m", strconv.Itoa(s.MemoryMiB),
		"-uuid", s.UUID,
		"-smbios", fmt.Sprintf("type=1,manufacturer=Gantry,product=%s,serial=%s,uuid=%s", s.Product, s.Serial, s.UUID),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", consoleFD), "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-rng-pci",
	}
	if on.accel == KVM {
		a = append(a, "-accel", "kvm", "-cpu", "host")
	} else {
		a = append(a, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	if on.frozen {
		a = append(a, "-S")
	}
	if s.Firmware == UEFI {
		a = append(a,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,unit=1,format=raw,file=vars.fd")
	}
	if s.HTTPBoot { // OVMF's switches: edk2, OvmfPkg/RUNTIME_CONFIG.md
		a = append(a,
			"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no",
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no")
	}
	boot := 1 // the network first, always: the appliance decides
	for i, n := range s.NICs {
		a = append(a, s.nicArgs(i, n, boot)...)
		boot++
	}
	return append(a, s.diskArgs(on, boot)...)
}

func (s Spec) nicArgs(i int, n NIC, boot int) []string {
	device := map[string]string{"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e"}[n.Model]
	device += fmt.Sprintf(",id=nic%d,netdev=net%d,mac=%s,bootindex=%d", i, i, n.MAC, boot)
	if s.Firmware == UEFI && n.Model == "virtio" {
		device += ",romfile=" // OVMF's own driver and PXE, as a server's firmware has
	}
	return []string{
		"-netdev", fmt.Sprintf("tap,id=net%d,ifname=%s,script=no,downscript=no", i, n.Tap),
		"-device", device,
	}
}

func (s Spec) diskArgs(on powerOn, boot int) (a []string) {
	if countBus(s.Disks, "scsi") > 0 {
		a = append(a, "-device", "virtio-scsi-pci,id=scsi")
	}
	ports := 0
	for i, d := range s.Disks {
		// cache=unsafe ignores flushes: what QEMU was given is in the host's page
		// cache, which outlives a killed QEMU, so killing it loses no more than
		// a power cut does. Only a crash of the host would.
		drive := fmt.Sprintf("if=none,id=%s,format=raw,file=%s,cache=unsafe,discard=unmap", driveID(i), diskFile(i))
		if on.bps > 0 {
			drive += fmt.Sprintf(",throttling.bps-total=%d", on.bps)
		}
		device := fmt.Sprintf(",drive=%s,serial=%s,bootindex=%d", driveID(i), d.Serial, boot+i)
		rotation := ",rotation_rate=1" // not rotating, ATA8-ACS word 217
		if d.Rotational {
			rotation = ",rotation_rate=7200"
		}
		switch d.Bus {
		case "nvme":
			device = "nvme" + device
		case "ahci":
			device = fmt.Sprintf("ide-hd,bus=ide.%d", ports) + device + rotation
			ports++
		case "scsi":
			device = "scsi-hd,bus=scsi.0" + device + rotation
		default:
			device = "virtio-blk-pci" + device
		}
		a = append(a, "-drive", drive, "-device", device)
	}
	return a
}

func driveID(i int) string  { return fmt.Sprintf("drive%d", i) }
func diskFile(i int) string { return fmt.Sprintf("disk%d.raw", i) }
