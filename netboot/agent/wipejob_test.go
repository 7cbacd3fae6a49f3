package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// TestSideBySide: many disks take as long as one, what is told never goes back,
// and a disk that fails ends the others.
func TestSideBySide(t *testing.T) {
	disks := make([]job.Disk, 12)
	for i := range disks {
		disks[i].Bytes = 100
	}
	const slow = 200 * time.Second // 1 byte a second, written and read
	erase := func(ctx context.Context, _ int, progress func(done, total int64)) error {
		for n := range int64(200) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(slow / 200):
				progress(n+1, 200)
			}
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		began, last := time.Now(), int64(0)
		err := sideBySide(t.Context(), disks, func(done, total int64) {
			if done < last || done > total || total != 2400 {
				t.Fatalf("%d of %d after %d", done, total, last)
			}
			last = done
		}, erase)
		if took := time.Since(began); err != nil || took != slow || last != 2400 {
			t.Errorf("%v in %v, %d bytes", err, took, last)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		bad, began := errors.New("this disk does not read as zeros"), time.Now()
		err := sideBySide(t.Context(), disks, func(int64, int64) {}, func(ctx context.Context, i int, progress func(done, total int64)) error {
			if i == 5 {
				return bad
			}
			return erase(ctx, i, progress)
		})
		if !errors.Is(err, bad) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
