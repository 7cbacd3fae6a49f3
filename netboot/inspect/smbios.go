package inspect

import (
	"bytes"
	"encoding/binary"
)

// SMBIOS 3.7 (DSP0134): structure types and the fields of Memory Device.
const (
	typeMemoryDevice = 17
	typeEnd          = 127
	offSize          = 0x0c // WORD: MiB, or KiB if bit 15 is set; 0 empty slot; 0xffff unknown; 0x7fff see the next
	offExtendedSize  = 0x1c // DWORD: MiB, bit 31 reserved
	headerLen        = 4
)

// smbiosMemory adds up the memory devices of an SMBIOS structure table. It stops
// where the table stops making sense.
func smbiosMemory(table []byte) int64 {
	var sum int64
	for len(table) >= headerLen {
		kind, n := table[0], int(table[1])
		if n < headerLen || n > len(table) || kind == typeEnd {
			break
		}
		if kind == typeMemoryDevice {
			sum += memoryDevice(table[:n])
		}
		end := bytes.Index(table[n:], []byte{0, 0})
		if end < 0 {
			break
		}
		table = table[n+end+2:]
	}
	return sum
}

// memoryDevice is one device's bytes, 0 for an empty slot or an unknown size.
func memoryDevice(s []byte) int64 {
	if len(s) < offSize+2 {
		return 0
	}
	switch v := binary.LittleEndian.Uint16(s[offSize:]); {
	case v == 0xffff:
		return 0
	case v == 0x7fff && len(s) >= offExtendedSize+4:
		return int64(binary.LittleEndian.Uint32(s[offExtendedSize:])&0x7fffffff) << 20
	case v&0x8000 != 0:
		return int64(v&0x7fff) << 10
	default:
		return int64(v) << 20
	}
}
