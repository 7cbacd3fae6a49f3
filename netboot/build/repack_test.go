package build

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// miniVmlinux is an ELF program with one segment of code and one that is longer
// in memory than in the file.
func miniVmlinux() []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+2*56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)         // ET_EXEC
	le.PutUint16(b[18:], 62)        // EM_X86_64
	le.PutUint32(b[20:], 1)         // version
	le.PutUint64(b[24:], 0x1000040) // entry
	le.PutUint64(b[32:], 64)        // program headers
	le.PutUint16(b[52:], 64)        // this header's size
	le.PutUint16(b[54:], 56)        // a program header's
	le.PutUint16(b[56:], 2)         // how many
	text, data := bytes.Repeat([]byte("code"), 500), []byte("data!")
	for i, seg := range []struct {
		paddr  uint64
		file   []byte
		memory uint64
	}{{0x1000000, text, 2000}, {0x1200000, data, 4099}} {
		h := b[64+56*i:]
		le.PutUint32(h, 1) // PT_LOAD
		le.PutUint64(h[8:], uint64(len(b)))
		le.PutUint64(h[24:], seg.paddr)
		le.PutUint64(h[32:], uint64(len(seg.file)))
		le.PutUint64(h[40:], seg.memory)
		b = append(b, seg.file...)
	}
	return b
}

// miniKernel is a bzImage of two sectors and that vmlinux.
func miniKernel(t *testing.T) []byte {
	t.Helper()
	xz := exec.Command("xz", "--stdout", "--x86", "--lzma2")
	xz.Stdin = bytes.NewReader(miniVmlinux())
	payload, err := xz.Output()
	if err != nil {
		t.Fatalf("xz (package xz-utils is needed): %v", err)
	}
	b := make([]byte, 2*sector)
	copy(b, "MZ")
	b[hdrSetupSects] = 1
	copy(b[hdrMagic:], "HdrS")
	b[hdrRelocatable] = 1
	binary.LittleEndian.PutUint32(b[hdrPayloadOffset:], 16)
	binary.LittleEndian.PutUint32(b[hdrPayloadLength:], uint32(len(payload)+4))
	b = append(append(b, make([]byte, 16)...), payload...)
	return binary.LittleEndian.AppendUint32(b, uint32(len(miniVmlinux())))
}

// What the stub is told to unpack is the kernel as it must be in memory.
func TestRepackKeepsTheKernel(t *testing.T) {
	got, err := Repack(miniKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if got[0] == 'M' || got[hdrRelocatable] != 0 || le.Uint16(got[hdrXLoadFlags:]) != 0 {
		t.Error("it claims to start in ways that the stub does not know")
	}
	if size := int(le.Uint32(got[hdrSysSize:])) * 16; len(got) != 2*sector+size {
		t.Errorf("%d bytes, the header says %d", len(got), 2*sector+size)
	}
	p := got[2*sector:]
	word := func(i int) int { return int(le.Uint32(p[stubWords+4*i:])) }
	if word(2) != 0x1000000 || word(3) != 0x1201008 || word(4) != 0x1000040 {
		t.Errorf("unpacks to %#x-%#x, starts at %#x", word(2), word(3), word(4))
	}
	flat := make([]byte, word(3)-word(2))
	n, err := lz4.UncompressBlock(p[word(0)-loadedAt:word(1)-loadedAt], flat)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 0x200005)
	copy(want, bytes.Repeat([]byte("code"), 500))
	copy(want[0x200000:], "data!")
	if !bytes.Equal(flat[:n], want) {
		t.Errorf("%d bytes, want %d, or others", n, len(want))
	}
}

func TestRepackRefuses(t *testing.T) {
	good := miniKernel(t)
	bad := func(change func([]byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":            nil,
		"no bzImage":       bad(func(b []byte) { b[hdrMagic] = 'h' }),
		"cut short":        good[:len(good)-40],
		"payload lies":     bad(func(b []byte) { b[hdrPayloadLength+3] = 1 }),
		"payload negative": bad(func(b []byte) { b[hdrPayloadLength+3] = 0xff }),
		"not xz":           bad(func(b []byte) { b[2*sector+16] = 0 }),
	} {
		if _, err := Repack(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The stub is what its source says.
func TestStubIsAssembled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "stub.bin")
	if b, err := exec.Command("stub/stub.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("stub.sh (package binutils is needed): %v: %s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil || !bytes.Equal(b, stub) {
		t.Errorf("stub.bin is not what stub.S gives: run netboot/build/stub/stub.sh (%v)", err)
	}
}
