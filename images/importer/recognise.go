package importer

import (
	"bytes"
	"fmt"
)

// mark is bytes at a place by which a format is known.
type mark struct {
	name  string
	at    int
	bytes string
}

var known = []mark{
	{"qcow2", 0, "QFI\xfb"},
	{"tar", 257, "ustar"},
}

var refused = []mark{
	{"a VMDK disk (convert it: qemu-img convert -O qcow2)", 0, "KDMV"},
	{"a VMDK disk (convert it: qemu-img convert -O qcow2)", 0, "COWD"},
	{"a VMDK descriptor, whose data is in other files", 0, "# Disk DescriptorFile"},
	{"a VHDX disk (convert it: qemu-img convert -O qcow2)", 0, "vhdxfile"},
	{"a VHD disk (convert it: qemu-img convert -O qcow2)", 0, "conectix"},
	{"a VDI disk (convert it: qemu-img convert -O qcow2)", 0x40, "\x7f\x10\xda\xbe"},
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"a squashfs file system, which is no whole disk", 0, "hsqs"},
	{"an ISO 9660 installation medium, which is no installed disk", 0x8001, "CD001"},
}

var disks = []mark{
	{"raw", 510, "\x55\xaa"},
	{"raw", 512, "EFI PART"},
	{"raw", 4096, "EFI PART"},
}

func find(head []byte, marks []mark) string {
	for _, m := range marks {
		if m.at < len(head) && bytes.HasPrefix(head[m.at:], []byte(m.bytes)) {
			return m.name
		}
	}
	return ""
}

// recognise names the format of a plain stream by its first bytes. What was
// said about it must agree with what it is: a raw disk that begins like qcow2 is
// what has fooled others into following a backing file.
func recognise(head []byte, want string) (string, error) {
	if want != "" && want != "auto" && want != "raw" && want != "qcow2" && want != "tar" {
		return "", fmt.Errorf("%w: format %q; raw, qcow2, tar and auto are known", ErrUnsupported, want)
	}
	if name := find(head, refused); name != "" {
		return "", fmt.Errorf("%w: this is %s", ErrUnsupported, name)
	}
	for _, c := range compressions {
		if bytes.HasPrefix(head, []byte(c.mark)) {
			return "", fmt.Errorf("%w: %s within another compression", ErrUnsupported, c.name)
		}
	}
	found := find(head, known)
	if found == "" {
		found = find(head, disks)
	}
	switch {
	case len(head) == 0:
		return "", fmt.Errorf("%w: it is empty", ErrTruncated)
	case found == "" && want == "raw":
		return want, nil
	case found == "":
		return "", fmt.Errorf("%w: neither qcow2 nor tar, nor a disk with a partition table; say format raw if it is one without", ErrUnsupported)
	case want != "" && want != "auto" && want != found:
		return "", fmt.Errorf("%w: this is %s, not %s as was said", ErrUnsupported, found, want)
	}
	return found, nil
}
