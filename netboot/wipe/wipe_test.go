package wipe

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gantry-pod/gantry/netboot/job"
)

// The structures that go to the kernel have the sizes that their ioctl numbers
// and headers say.
func TestKernelStructures(t *testing.T) {
	if n := unsafe.Sizeof(nvmeCommand{}); n != ioctlNVMeAdmin>>16&0x3fff {
		t.Errorf("struct nvme_passthru_cmd: %d", n)
	}
	if n := unsafe.Sizeof(sgHeader{}); n != 88 {
		t.Errorf("struct sg_io_hdr: %d", n)
	}
	if dmDevRemove>>16&0x3fff != dmSize {
		t.Error("struct dm_ioctl")
	}
}

func TestWaysByDisk(t *testing.T) {
	for _, c := range []struct {
		method, transport string
		discard, quick    bool
		want              []string
	}{
		{"best", "nvme", true, false, []string{Sanitize, Format, Discard, Zero}},
		{"best", "ata", false, false, []string{SecureErase, Zero}},
		{"best", "virtio", true, false, []string{Discard, Zero}},
		{"zero", "nvme", true, false, []string{Zero}},
		{"best", "nvme", true, true, []string{Discard, Sanitize, Format, Discard, Zero}},
		{"best", "ata", false, true, []string{SecureErase, Zero}},
		{"zero", "virtio", true, true, []string{Zero}},
	} {
		ms, err := ways(Request{Method: c.method, Quick: c.quick, Disk: job.Disk{Transport: c.transport, Discard: c.discard}})
		if err != nil || len(ms) != len(c.want) {
			t.Fatalf("%+v: %v, %v", c, ms, err)
		}
		for i, m := range ms {
			if m.name != c.want[i] || m.quick != (c.quick && c.discard && c.method == "best" && i == 0) {
				t.Errorf("%+v: %d is %s", c, i, m.name)
			}
		}
	}
	if _, err := ways(Request{Method: "shred"}); err == nil {
		t.Error("an unknown method was accepted")
	}
}

// A quick look reads 32 MiB of a disk, and never calls that all of it.
func TestToRead(t *testing.T) {
	for _, c := range []struct {
		size   int64
		quick  bool
		blocks int
		how    string
	}{
		{64 << 20, true, 16, "full"}, {68 << 20, true, 17, "sample"}, {8 << 40, true, 64, "sample"},
		{8 << 30, false, 2048, "full"}, {64 << 30, false, samples + 2*edge, "sample"},
	} {
		all, how := toRead(c.size, c.quick)
		if len(all) != c.blocks || how != c.how {
			t.Errorf("%+v: %d blocks, %s", c, len(all), how)
		}
		for i, s := range all {
			if i > 0 && s.off < all[i-1].off+int64(all[i-1].n) || s.off+int64(s.n) > c.size || s.off%quickBytes != 0 {
				t.Errorf("%+v: block %d is %+v after %+v", c, i, s, all[max(i-1, 0)])
			}
		}
	}
}

// Sampling covers both ends and every stretch, and never the same block twice.
func TestSampleLeavesNoStretchOut(t *testing.T) {
	const size = 200 << 30
	all := spans(size)
	got := sample(all, edge, samples)
	seen := map[int64]bool{}
	last, gap := int64(0), int64(0)
	for _, s := range got {
		if seen[s.off] {
			t.Fatalf("block %d twice", s.off)
		}
		seen[s.off] = true
		gap = max(gap, s.off-last)
		last = s.off
	}
	if !seen[0] || !seen[all[len(all)-1].off] || len(got) != samples+2*edge || gap > 2*size/samples+2*block {
		t.Errorf("%d blocks, largest gap %d", len(got), gap)
	}
}

func TestEraseTime(t *testing.T) {
	for w, want := range map[uint16]time.Duration{0: eraseUnknown, 0xff: eraseUnknown, 1: 4 * time.Minute, 0x8000 | 300: 20 * time.Hour, 0xffff: eraseUnknown} {
		if got := eraseTime(w); got != want {
			t.Errorf("%#x: %v, want %v", w, got, want)
		}
	}
}

func TestFormatWord(t *testing.T) {
	for _, c := range []struct {
		flbas, dps byte
		want       uint32
	}{{0, 0, 0x200}, {0x13, 0x09, 0x13 | 1<<5 | 1<<8 | 0x200}, {0x25, 0, 5 | 1<<12 | 0x200}} {
		if got := formatWord(c.flbas, c.dps); got != c.want {
			t.Errorf("%#x %#x: %#x, want %#x", c.flbas, c.dps, got, c.want)
		}
	}
}

func TestPassThrough(t *testing.T) {
	if c := passThrough(ataIdentify, fromDevice); c[0] != 0x85 || c[1] != 8 || c[2] != 0x0e || c[6] != 1 || c[14] != 0xec {
		t.Errorf("%x", c)
	}
	var sense [32]byte
	sense[0], sense[8], sense[21] = 0x72, 9, 0x50
	if err := ataStatus(0xf3, 2, 0, sense); err != nil {
		t.Error(err)
	}
	sense[21] = 0x51
	if ataStatus(0xf3, 2, 0, sense) == nil {
		t.Error("an error bit is no error")
	}
}

// controllerLog answers Get Log Page with one status after the other.
type controllerLog struct {
	status []byte
	asked  int
}

func (c *controllerLog) admin(cmd nvmeCommand, data []byte) error {
	if cmd.opcode != opGetLog || cmd.cdw10&0xff != logSanitize {
		return fmt.Errorf("command %#x", cmd.opcode)
	}
	data[2] = c.status[c.asked]
	binary.LittleEndian.PutUint16(data, uint16(c.asked*1000))
	c.asked++
	return nil
}

// TestAwaitSanitize: an operation that runs, since whenever, is waited for.
func TestAwaitSanitize(t *testing.T) {
	for _, tc := range []struct {
		status []byte
		ok     bool
	}{
		{[]byte{0}, true}, // never sanitized
		{[]byte{sanitizeRunning, sanitizeRunning, 1}, true},
		{[]byte{sanitizeRunning, sanitizeFailed}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, began := &controllerLog{status: tc.status}, time.Now()
			d := &disk{path: "/dev/nvme0n1", size: 1 << 30, report: func(int64, int64) {}, log: slog.New(slog.DiscardHandler)}
			if err := d.awaitSanitize(t.Context(), c); (err == nil) != tc.ok {
				t.Errorf("%v: %v", tc.status, err)
			}
			if c.asked != len(tc.status) || time.Since(began) != time.Duration(c.asked-1)*sanitizePoll {
				t.Errorf("%v: asked %d times in %v", tc.status, c.asked, time.Since(began))
			}
		})
	}
}
