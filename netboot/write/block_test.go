package write

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
