package inspect

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"path"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// virtual are the kernel's names of block devices that no system is written to.
var virtual = [...]string{"loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "mtdblock", "drbd", "zd", "rbd"}

// Disks lists the block devices that a system could be written to, by name. A
// disk that is reached by two paths, as a SAS disk with two ports is, is one: its
// first. root is the file system's root with sys in it.
func Disks(root fs.FS) []job.Disk {
	var out []job.Disk
	seen := map[string]bool{}
	for _, n := range names(root, "sys/block") {
		if isVirtual(n) {
			continue
		}
		d := disk(root, n)
		if d.Bytes == 0 || d.WWN != "" && seen[d.WWN] {
			continue
		}
		seen[d.WWN] = true
		out = append(out, d)
	}
	return out
}

func isVirtual(name string) bool {
	for _, v := range virtual {
		rest, ok := strings.CutPrefix(name, v)
		// "sr" is not "srv", and "fd" not "fdx": a number follows.
		if ok && strings.Trim(rest, "0123456789") == "" {
			return true
		}
	}
	return false
}

// sysSector is the unit of sysfs' sizes, whatever the disk's sectors are.
const sysSector = 512

func disk(root fs.FS, name string) job.Disk {
	dir := path.Join("sys/block", name)
	if text(root, dir, "hidden") == "1" { // one path of a multipath NVMe device
		return job.Disk{}
	}
	d := job.Disk{
		Path: "/dev/" + strings.ReplaceAll(name, "!", "/"), Bytes: number(root, dir, "size") * sysSector,
		SectorSize: int(number(root, dir, "queue/logical_block_size")),
		Rotational: text(root, dir, "queue/rotational") == "1", Removable: text(root, dir, "removable") == "1",
		Discard:   number(root, dir, "queue/discard_max_bytes") > 0,
		Transport: transport(name, link(root, dir)),
		Model:     model(root, dir), Serial: serial(root, dir), WWN: wwn(root, dir),
	}
	return d
}

// transport tells from where the device is in the tree.
func transport(name, where string) string {
	switch {
	case strings.HasPrefix(name, "nvme"):
		return "nvme"
	case strings.Contains(where, "/usb"):
		return "usb"
	case strings.Contains(where, "/ata"):
		return "ata"
	case strings.HasPrefix(name, "vd"):
		return "virtio"
	case strings.HasPrefix(name, "sd"):
		return "scsi"
	}
	return ""
}

// model is the vendor and model; "ATA" is the kernel's word for no vendor.
func model(root fs.FS, dir string) string {
	m := text(root, dir, "device/model")
	v := text(root, dir, "device/vendor")
	if m == "" || v == "" || v == "ATA" || strings.HasPrefix(v, "0x") || strings.HasPrefix(m, v) {
		return m
	}
	return v + " " + m
}

// serial is virtio's or NVMe's, or SCSI's Unit Serial Number VPD page.
func serial(root fs.FS, dir string) string {
	if s := firstOf(text(root, dir, "serial"), text(root, dir, "device/serial")); s != "" {
		return s
	}
	b, err := fs.ReadFile(root, path.Join(dir, "device/vpd_pg80"))
	if err != nil {
		return ""
	}
	return vpdSerial(b)
}

// vpdSerial reads page 0x80 of SPC-4 7.8.15: four bytes of header with the
// length of what follows.
func vpdSerial(page []byte) string {
	if len(page) < 4 || page[1] != 0x80 {
		return ""
	}
	n := int(binary.BigEndian.Uint16(page[2:]))
	s := page[4:min(4+n, len(page))]
	return string(bytes.Trim(bytes.Map(printable, s), " "))
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// wwn is a World Wide Name as lsblk and udev write it, or an NVMe EUI-64 or
// NGUID; "" for vendor-made ones (t10), which are not worldwide.
func wwn(root fs.FS, dir string) string {
	id := firstOf(text(root, dir, "wwid"), text(root, dir, "device/wwid"))
	if hex, ok := strings.CutPrefix(id, "naa."); ok {
		return "0x" + hex
	}
	if strings.HasPrefix(id, "eui.") || strings.HasPrefix(id, "uuid.") {
		return id
	}
	return ""
}
