package disk

import (
	"encoding/binary"
	"io"
)

// Probe tells a file system by its superblock: "ext4" (also for ext2 and ext3),
// "xfs", "btrfs", "vfat", "swap", "lvm", "md", or "" for none of these.
func Probe(r io.ReaderAt) string {
	at := func(off int64, magic string) bool {
		b := make([]byte, len(magic))
		_, err := r.ReadAt(b, off)
		return err == nil && string(b) == magic
	}
	switch {
	case at(0, "XFSB"):
		return "xfs"
	case at(0x438, "\x53\xef"):
		return "ext4"
	case at(0x10040, "_BHRfS_M"):
		return "btrfs"
	case at(4096-10, "SWAPSPACE2"):
		return "swap"
	case at(512, "LABELONE"):
		return "lvm"
	case at(4096, "\xfc\x4e\x2b\xa9"):
		return "md"
	case at(510, "\x55\xaa") && (at(0x52, "FAT32") || at(0x36, "FAT")):
		return "vfat"
	}
	return ""
}

// xfsImaxPct is the superblock's limit of inode space in percent (xfs_dsb,
// sb_imax_pct); growing sets it too, so it is read to keep it.
func xfsImaxPct(r io.ReaderAt) (uint32, error) {
	var b [1]byte
	_, err := r.ReadAt(b[:], 127)
	return uint32(b[0]), err
}

// growXFS is struct xfs_growfs_data of the kernel's fs/xfs/libxfs/xfs_fs.h.
func growXFS(blocks uint64, imaxpct uint32) [16]byte {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], blocks)
	binary.NativeEndian.PutUint32(b[8:], imaxpct)
	return b
}
