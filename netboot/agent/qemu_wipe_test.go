//go:build qemu

package agent

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Disks on three buses, full of a pattern, are wiped by the best means each: the
// files behind them then hold nothing of it.
func TestWipedDisksHoldNothing(t *testing.T) {
	const size = 96 << 20
	for _, method := range []string{"best", "zero"} {
		t.Run(method, func(t *testing.T) {
			a := newAppliance(t)
			var dev, files []string
			for _, d := range []struct{ name, device string }{
				{"d1", "virtio-blk-pci,drive=d1,serial=W1"}, {"d2", "nvme,drive=d2,serial=W2"}, {"d3", "ide-hd,drive=d3,serial=W3"},
			} {
				path, drive := diskImage(t, d.name, 0)
				if err := os.WriteFile(path, bytes.Repeat([]byte("old tenant's data, which nobody may find again. "), size/48+1)[:size], 0o600); err != nil {
					t.Fatal(err)
				}
				files = append(files, path)
				dev = append(dev, append(drive, "-device", d.device)...)
			}
			m := boot(t, a, dev...)
			certs := a.mustDo(m, job.Job{ID: "w1", Kind: job.Wipe, Wipe: &job.WipeSpec{Method: method}}, 4*time.Minute).Wiped
			if len(certs) != 3 {
				t.Fatalf("%+v", certs)
			}
			for _, c := range certs {
				t.Logf("%+v", c)
				if c.Verified != "full" || c.Bytes != size || c.Serial == "" || !c.Ended.After(c.Began) || method == "zero" && c.Method != "zero" {
					t.Errorf("certificate %+v", c)
				}
			}
			a.mustDo(m, job.Job{ID: "p1", Kind: job.PowerOff}, time.Minute)
			m.waitExit(t, time.Minute)
			for _, f := range files {
				if off := firstNonZero(t, f); off >= 0 {
					t.Errorf("%s still holds something at byte %d", f, off)
				}
			}
		})
	}
}

// firstNonZero is -1 for a file of zeros.
func firstNonZero(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := io.ReadFull(f, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			return off
		}
		if err != nil {
			return -1
		}
		off += int64(n)
	}
}
