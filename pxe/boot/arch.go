package boot

import "strconv"

// Arch is a client system architecture: the value of DHCP option 93 (RFC 4578,
// section 2.1), from IANA's "Processor Architecture Types" registry.
type Arch uint16

// The registered architectures that name a firmware met on servers. EFI byte
// code (9) is what RFC 4578 printed; its erratum and all x64 firmware since use
// 7, old firmware still sends 9 for x64.
const (
	ArchBIOS        Arch = 0  // x86 BIOS
	ArchIA32        Arch = 6  // x86 UEFI, 32 bits
	ArchX64         Arch = 7  // x64 UEFI
	ArchEBC         Arch = 9  // EFI byte code; sent by old x64 UEFI
	ArchARM32       Arch = 10 // ARM UEFI, 32 bits
	ArchARM64       Arch = 11 // ARM UEFI, 64 bits
	ArchIA32HTTP    Arch = 15 // x86 UEFI, HTTP boot
	ArchX64HTTP     Arch = 16 // x64 UEFI, HTTP boot
	ArchEBCHTTP     Arch = 17 // EFI byte code, HTTP boot
	ArchARM32HTTP   Arch = 18 // ARM UEFI, 32 bits, HTTP boot
	ArchARM64HTTP   Arch = 19 // ARM UEFI, 64 bits, HTTP boot
	ArchBIOSHTTP    Arch = 20 // x86 BIOS, HTTP boot
	ArchRISCV64     Arch = 27 // RISC-V UEFI, 64 bits
	ArchRISCV64HTTP Arch = 28 // RISC-V UEFI, 64 bits, HTTP boot
)

// String names the architecture as a technician would, and an unknown one by
// its number.
func (a Arch) String() string {
	switch a {
	case ArchBIOS:
		return "x86 BIOS"
	case ArchIA32:
		return "x86 UEFI"
	case ArchX64:
		return "x64 UEFI"
	case ArchEBC:
		return "x64 UEFI (EBC)"
	case ArchARM32:
		return "arm32 UEFI"
	case ArchARM64:
		return "arm64 UEFI"
	case ArchIA32HTTP:
		return "x86 UEFI HTTP"
	case ArchX64HTTP:
		return "x64 UEFI HTTP"
	case ArchEBCHTTP:
		return "x64 UEFI HTTP (EBC)"
	case ArchARM32HTTP:
		return "arm32 UEFI HTTP"
	case ArchARM64HTTP:
		return "arm64 UEFI HTTP"
	case ArchBIOSHTTP:
		return "x86 BIOS HTTP"
	case ArchRISCV64:
		return "riscv64 UEFI"
	case ArchRISCV64HTTP:
		return "riscv64 UEFI HTTP"
	}
	return "architecture " + strconv.Itoa(int(a))
}

// HTTP reports whether the firmware asks for a URL and not a TFTP file.
func (a Arch) HTTP() bool {
	switch a {
	case ArchIA32HTTP, ArchX64HTTP, ArchEBCHTTP, ArchARM32HTTP, ArchARM64HTTP, ArchBIOSHTTP, ArchRISCV64HTTP:
		return true
	}
	return false
}

// UEFI reports whether the architecture's firmware is UEFI.
func (a Arch) UEFI() bool {
	switch a {
	case ArchIA32, ArchX64, ArchEBC, ArchARM32, ArchARM64, ArchRISCV64:
		return true
	}
	return a.HTTP() && a != ArchBIOSHTTP
}
