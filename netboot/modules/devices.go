package modules

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Buses whose devices are drivers' business at boot.
var buses = [...]string{"pci", "virtio", "usb", "scsi", "acpi", "vmbus", "nvme-subsystem"}

// Device is one device that asks for a driver.
type Device struct {
	// Path is where it is in sysfs, Alias what it says it is.
	Path, Alias string
	// Class is the PCI class (base class and subclass, such as 0x0200 for
	// Ethernet), or 0 if it is no PCI device.
	Class int
}

// Devices lists the devices in sysfs that have a modalias, network devices
// first: the sooner DHCP starts, the sooner the boot is over.
func Devices(sys fs.FS) []Device {
	var out []Device
	for _, bus := range buses {
		dir := path.Join("bus", bus, "devices")
		entries, err := fs.ReadDir(sys, dir)
		if err != nil {
			continue // the bus is not there (yet)
		}
		for _, e := range entries {
			p := path.Join(dir, e.Name())
			a, err := fs.ReadFile(sys, path.Join(p, "modalias"))
			if err != nil || len(strings.TrimSpace(string(a))) == 0 {
				continue
			}
			out = append(out, Device{Path: p, Alias: strings.TrimSpace(string(a)), Class: pciClass(sys, p)})
		}
	}
	slices.SortStableFunc(out, func(a, b Device) int { return rank(a) - rank(b) })
	return out
}

const (
	classStorage  = 0x01
	classNetwork  = 0x02
	subclassShift = 8
)

// virtioNIC begins the modalias of virtio device type 1, a network card.
const virtioNIC = "virtio:d00000001"

// IsNetwork says that the device is a network controller, or a virtio device
// that is one (virtio device type 1).
func (d Device) IsNetwork() bool {
	return d.Class>>subclassShift == classNetwork || strings.HasPrefix(d.Alias, virtioNIC)
}

func rank(d Device) int {
	switch {
	case d.IsNetwork():
		return 0
	case d.Class>>subclassShift == classStorage:
		return 1
	}
	return 2
}

func pciClass(sys fs.FS, dev string) int {
	b, err := fs.ReadFile(sys, path.Join(dev, "class"))
	if err != nil {
		return 0
	}
	var n int
	for _, c := range strings.TrimPrefix(strings.TrimSpace(string(b)), "0x") {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		default:
			return 0
		}
	}
	return n >> 8 // drop the programming interface
}
