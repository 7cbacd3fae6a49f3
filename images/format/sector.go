package format

// HeadBytes is how much of a disk image SectorSize looks at.
const HeadBytes = 8192

// SectorSize is the size of the sectors that a disk image was made for, by where
// its first bytes have the partition table: behind the first sector if it is a
// GUID partition table (UEFI 2.10, 5.3.2), in sectors of 512 bytes if it is an
// MBR; 0 if there is none.
func SectorSize(head []byte) int {
	for _, n := range [...]int{512, 4096} {
		if len(head) >= n+8 && string(head[n:n+8]) == "EFI PART" {
			return n
		}
	}
	if len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa {
		return 512
	}
	return 0
}
