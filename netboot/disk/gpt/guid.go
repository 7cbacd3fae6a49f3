package gpt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// ParseGUID reads the text form, such as C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || len(s) != 36 {
		return g, fmt.Errorf("%q is no GUID", s)
	}
	copy(g[:], b)
	return g.swapped(), nil
}

// swapped turns the text's order to the disk's, and back: the first three
// fields are little-endian there.
func (g GUID) swapped() GUID {
	return GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// String is the text form, upper case.
func (g GUID) String() string {
	s := g.swapped()
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:]))
}

// NewGUID makes a random one (RFC 9562, version 4).
func NewGUID() GUID {
	var g GUID
	rand.Read(g[:]) // never fails
	g[6] = g[6]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g.swapped()
}

// Partition types.
const (
	TypeESP   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" // EFI system partition
	TypeBIOS  = "21686148-6449-6E6F-744E-656564454649" // BIOS boot, for GRUB
	TypeLinux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4" // file system
	TypeRoot  = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" // root, x86-64
	TypeSwap  = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	TypeLVM   = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
	TypeRAID  = "A19D880F-05FC-4D3B-A006-743F0F84911E"
)

// Bytes are the 16 bytes in the text's order (RFC 9562), as file systems have
// them.
func (g GUID) Bytes() [16]byte { return g.swapped() }
