package inspect

import (
	"bufio"
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

const dmi = "sys/class/dmi/id"

// system is SMBIOS types 0 to 2, as the kernel shows them.
func system(root fs.FS) job.System {
	return job.System{
		Vendor: text(root, dmi, "sys_vendor"), Product: text(root, dmi, "product_name"),
		Serial: firstOf(text(root, dmi, "product_serial"), text(root, dmi, "board_serial")),
		UUID:   strings.ToLower(text(root, dmi, "product_uuid")),
		BIOS:   strings.TrimSpace(text(root, dmi, "bios_vendor") + " " + text(root, dmi, "bios_version")),
	}
}

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

// Firmware is "uefi" if the kernel was started by it, else "bios".
func Firmware(root fs.FS) string {
	if exists(root, "sys/firmware/efi") {
		return "uefi"
	}
	return "bios"
}

// secureBoot reads the variable SecureBoot of UEFI 3.3: four bytes of
// attributes, which efivarfs puts before, and a byte that is 1 when it is
// enforced.
func secureBoot(root fs.FS) bool {
	b, err := fs.ReadFile(root, "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	return err == nil && len(b) == 5 && b[4] == 1
}

// cpu counts processors by their topology; the model is /proc/cpuinfo's.
func cpu(root fs.FS) job.CPU {
	c := job.CPU{Arch: runtime.GOARCH}
	sockets, cores := map[string]bool{}, map[string]bool{}
	const dir = "sys/devices/system/cpu"
	for _, n := range names(root, dir) {
		if _, err := strconv.Atoi(strings.TrimPrefix(n, "cpu")); err != nil || !strings.HasPrefix(n, "cpu") {
			continue
		}
		top := path.Join(dir, n, "topology")
		if !exists(root, top) {
			continue // absent or offline
		}
		c.Threads++
		s := text(root, top, "physical_package_id")
		sockets[s] = true
		cores[s+"/"+text(root, top, "die_id")+"/"+text(root, top, "core_id")] = true
	}
	c.Sockets, c.Cores = len(sockets), len(cores)
	c.Model, c.MHz = cpuinfo(root)
	if khz := number(root, dir, "cpu0/cpufreq/cpuinfo_max_freq"); khz > 0 {
		c.MHz = int(khz / 1000)
	}
	return c
}

func cpuinfo(root fs.FS) (model string, mhz int) {
	f, err := root.Open("proc/cpuinfo")
	if err != nil {
		return "", 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan() && (model == "" || mhz == 0); {
		k, v, _ := strings.Cut(sc.Text(), ":")
		switch strings.TrimSpace(k) {
		case "model name":
			model = strings.TrimSpace(v)
		case "cpu MHz":
			f, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			mhz = int(f)
		}
	}
	return model, mhz
}

// memory is the sum of SMBIOS' memory devices, which counts what the firmware
// keeps for itself too, or else the kernel's MemTotal.
func memory(root fs.FS) int64 {
	if b, err := fs.ReadFile(root, "sys/firmware/dmi/tables/DMI"); err == nil {
		if n := smbiosMemory(b); n > 0 {
			return n
		}
	}
	for _, l := range strings.Split(text(root, "proc/meminfo"), "\n") {
		f := strings.Fields(l)
		if len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
