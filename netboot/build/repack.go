package build

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/pierrec/lz4/v4"
)

// stub takes the place of the kernel's decompressor, see stub/stub.S.
//
//go:embed stub/stub.bin
var stub []byte

// Offsets in a bzImage's first sectors (Documentation/x86/boot.rst, "The
// Real-Mode Kernel Header").
const (
	hdrSetupSects    = 0x1f1
	hdrSysSize       = 0x1f4 // in 16 bytes
	hdrMagic         = 0x202 // "HdrS"
	hdrVersion       = 0x206
	hdrRelocatable   = 0x234
	hdrXLoadFlags    = 0x236
	hdrPayloadOffset = 0x248
	hdrPayloadLength = 0x24c
	hdrEnd           = 0x270

	sector = 512
	// protocol is the version that has all fields up to here and not kernel_info,
	// which points into the part that is replaced.
	protocol = 0x020e
)

// loadedAt is where a boot loader puts what follows the first sectors, and
// stubWords where the stub has its five parameters.
const (
	loadedAt  = 0x100000
	stubWords = 4096 - 20
)

// Repack makes a kernel that BIOS boot loaders start sooner from a stock bzImage:
// the same code and data, byte for byte, compressed with LZ4 rather than xz, and
// unpacked by a stub of ours to the address that it is linked for. It is not
// moved to a random address (KASLR), and it has neither a signature nor the part
// that UEFI starts: UEFI gets the stock kernel.
func Repack(bzImage []byte) ([]byte, error) {
	setup, vmlinux, err := splitKernel(bzImage)
	if err != nil {
		return nil, err
	}
	flat, base, end, entry, err := flatten(vmlinux)
	if err != nil {
		return nil, err
	}
	block, err := packBlock(flat)
	if err != nil {
		return nil, err
	}
	at := uint64(loadedAt + len(stub))
	if at+uint64(len(block)) > base {
		return nil, fmt.Errorf("repack the kernel: %d bytes from %#x on reach over where it is unpacked to, %#x", len(block), at, base)
	}
	protected := append(bytes.Clone(stub), block...)
	for i, w := range []uint64{at, at + uint64(len(block)), base, end, entry} {
		binary.LittleEndian.PutUint32(protected[stubWords+4*i:], uint32(w))
	}
	for len(protected)%16 != 0 {
		protected = append(protected, 0)
	}
	le := binary.LittleEndian
	copy(setup, []byte{0xeb, 0xfe}) // was "MZ": this is no program of UEFI any more
	le.PutUint32(setup[hdrSysSize:], uint32(len(protected)/16))
	le.PutUint16(setup[hdrVersion:], protocol)
	setup[hdrRelocatable] = 0
	le.PutUint16(setup[hdrXLoadFlags:], 0)
	le.PutUint32(setup[hdrPayloadOffset:], 0)
	le.PutUint32(setup[hdrPayloadLength:], 0)
	return append(setup, protected...), nil
}

// splitKernel returns a copy of a bzImage's real-mode part, and its vmlinux.
func splitKernel(b []byte) (setup, vmlinux []byte, err error) {
	if len(b) < hdrEnd || string(b[hdrMagic:hdrMagic+4]) != "HdrS" {
		return nil, nil, errors.New("the kernel is no bzImage")
	}
	size := (int(b[hdrSetupSects]) + 1) * sector
	from := size + int(binary.LittleEndian.Uint32(b[hdrPayloadOffset:]))
	to := from + int(binary.LittleEndian.Uint32(b[hdrPayloadLength:]))
	if from > to || to > len(b) {
		return nil, nil, fmt.Errorf("the kernel is cut short: its payload ends at %d of %d", to, len(b))
	}
	// The program, as the Go packages lack the filter for x86 code. What follows
	// the stream is the unpacked size.
	xz := exec.Command("xz", "--decompress", "--single-stream", "--stdout")
	xz.Stdin, xz.Stderr = bytes.NewReader(b[from:to]), os.Stderr
	if vmlinux, err = xz.Output(); err != nil {
		return nil, nil, fmt.Errorf("unpack the kernel with xz: %w", err)
	}
	return bytes.Clone(b[:size]), vmlinux, nil
}

// maxFlat bounds a kernel in memory; stock ones take a quarter.
const maxFlat = 256 << 20

// flatten lays a vmlinux's segments out as in memory from base on, and drops the
// zeros at the end, up to end.
func flatten(vmlinux []byte) (flat []byte, base, end, entry uint64, err error) {
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return nil, 0, 0, 0, fmt.Errorf("vmlinux: %w", err)
	}
	base = ^uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			base, end = min(base, p.Paddr), max(end, p.Paddr+p.Memsz)
		}
	}
	if base >= end || end-base > maxFlat || end > 1<<30 {
		return nil, 0, 0, 0, fmt.Errorf("vmlinux: its segments go from %#x to %#x", base, end)
	}
	end = (end + 7) &^ 7
	flat = make([]byte, end-base)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if _, err := io.ReadFull(p.Open(), flat[p.Paddr-base:][:p.Filesz]); err != nil {
			return nil, 0, 0, 0, fmt.Errorf("vmlinux: segment at %#x: %w", p.Paddr, err)
		}
	}
	return bytes.TrimRight(flat, "\x00"), base, end, f.Entry, nil
}

// packBlock compresses into one LZ4 block, and makes sure of it.
func packBlock(flat []byte) ([]byte, error) {
	block := make([]byte, lz4.CompressBlockBound(len(flat)))
	c := lz4.CompressorHC{Level: lz4.Level9}
	n, err := c.CompressBlock(flat, block)
	if err != nil {
		return nil, fmt.Errorf("compress the kernel: %w", err)
	}
	back := make([]byte, len(flat))
	if m, err := lz4.UncompressBlock(block[:n], back); err != nil || !bytes.Equal(back[:m], flat) {
		return nil, fmt.Errorf("compress the kernel: it comes out as something else (%w)", err)
	}
	return block[:n], nil
}
