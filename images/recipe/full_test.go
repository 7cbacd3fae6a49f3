//go:build qemu && fullimage

package recipe_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFullBoots uses build/images/debian-12.raw, which `make images` makes. It
// is not among the tests of `make test`, as it takes some minutes: `make
// test-full` runs it, and `make demo` deploys the same image.
func TestFullBoots(t *testing.T) {
	img, err := filepath.Abs("../../build/images/debian-12.raw")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(img); err != nil {
		t.Fatalf("%v; make images makes it", err)
	}
	machine{"bios", "virtio-blk-pci", "virtio-net-pci"}.boot(t, img, 20*time.Minute)
	machine{"uefi", "nvme", "e1000"}.boot(t, img, 20*time.Minute)
}
