package write

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/images/format"
)

// loopDevice is a block device of size bytes over a file full of 0xee.
func loopDevice(t *testing.T, size int) (device, file string) {
	t.Helper()
	file = dirtyFile(t, size)
	out, err := exec.Command("losetup", "-f", "--show", "--direct-io=on", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup (root and loop devices are needed): %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", device, err, out)
		}
	})
	return device, file
}

// TestWriteBlockDevice writes over a disk that has data where the image has zeros.
func TestWriteBlockDevice(t *testing.T) {
	const room = 5 << 20
	im := newImage(t, pattern(21, 24<<20+512), nil)
	device, _ := loopDevice(t, len(im.raw)+room)
	req := im.request(device)
	req.ReadBack = true
	st, err := Write(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, device, im.raw)
	if st.ReadBack != st.Written || st.Zeroed == 0 {
		t.Errorf("stats %+v", st)
	}
	got, err := os.ReadFile(device)
	if err != nil {
		t.Fatal(err)
	}
	if tail := got[len(got)-edge:]; !bytes.Equal(tail, make([]byte, edge)) {
		t.Error("an old backup partition table at the disk's end would survive")
	}
}

func TestDiskTooSmall(t *testing.T) {
	im := newImage(t, pattern(22, 4<<20), nil)
	device, _ := loopDevice(t, 3<<20)
	_, err := Write(t.Context(), im.request(device))
	p := wantProblem(t, err, "disk-too-small")
	if !strings.Contains(p.Detail, device) {
		t.Errorf("%q does not name the disk", p.Detail)
	}
	compare(t, device, bytes.Repeat([]byte{0xee}, 3<<20))
}

func TestDiskMissing(t *testing.T) {
	im := newImage(t, pattern(23, 1<<20), nil)
	_, err := Write(t.Context(), im.request(filepath.Join(t.TempDir(), "none", "disk")))
	wantProblem(t, err, "disk-io")
}

// A disk that went away must not become a file in devtmpfs' memory.
func TestVanishedDisk(t *testing.T) {
	im := newImage(t, pattern(24, 1<<20), nil)
	req := im.request(filepath.Join(t.TempDir(), "sdz"))
	req.Block = true
	_, err := Write(t.Context(), req)
	if p := wantProblem(t, err, "disk-io"); !p.Retry || !strings.Contains(p.Detail, req.Target) {
		t.Errorf("%+v", p)
	}
	if _, err := os.Stat(req.Target); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
}

// A disk whose command for zeros does nothing is found out.
func TestGapsAreSampled(t *testing.T) {
	device, _ := loopDevice(t, 4<<20)
	target, err := openTarget(device, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer target.f.Close()
	w := &writer{target: target}
	gaps := []span{{0, 1 << 20}, {3 << 20, 4 << 20}}
	if err := target.zero(t.Context(), 0, 1<<20, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	p := wantProblem(t, w.sampleGaps(t.Context(), gaps), "readback-mismatch")
	if !strings.Contains(p.Detail, "3145728") {
		t.Errorf("%q does not say where", p.Detail)
	}
	if err := w.sampleGaps(t.Context(), gaps[:1]); err != nil {
		t.Error(err)
	}
}

func TestHead(t *testing.T) {
	im := newImage(t, bytes.Repeat([]byte("head"), 1<<18), nil)
	req := im.request("")
	m, err := FetchManifest(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Head(t.Context(), req, m, 8192); err != nil || !bytes.Equal(b, im.raw[:8192]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	m.Chunks[0].Offset = format.Align
	if b, err := Head(t.Context(), req, m, 8192); err != nil || b != nil {
		t.Errorf("of an image that begins with zeros: %d bytes, %v", len(b), err)
	}
}
