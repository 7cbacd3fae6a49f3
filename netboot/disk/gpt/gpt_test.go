package gpt

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func newDisk(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func sgdisk(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("sgdisk", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %v (package gdisk): %v\n%s", args, err, out)
	}
	return string(out)
}

// A disk that sgdisk made for a small image grows to a larger one: its boot code
// and names stay, the last partition ends at the last MiB, and sgdisk finds
// nothing to complain about.
func TestGrowKeepsEverythingElse(t *testing.T) {
	const small, large = 64 << 20, 200<<20 + 512*7
	f := newDisk(t, small)
	sgdisk(t, "-n", "1:2048:+1M", "-t", "1:ef02", "-n", "2:0:0", "-t", "2:8300", "-c", "2:röot", f.Name())
	boot := bytes.Repeat([]byte{0xAB}, bootCode)
	if _, err := f.WriteAt(boot, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(large); err != nil {
		t.Fatal(err)
	}
	tab, err := Read(f, large, 512)
	if err != nil {
		t.Fatal(err)
	}
	n, err := tab.Grow(large)
	if err != nil || n != 2 {
		t.Fatalf("grew %d, %v; want 2", n, err)
	}
	if err := tab.Write(f, large); err != nil {
		t.Fatal(err)
	}
	if out := sgdisk(t, "-v", f.Name()); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	info := sgdisk(t, "-i", "2", f.Name())
	if !strings.Contains(info, "röot") || !strings.Contains(info, "Last sector: 407551 ") {
		t.Error(info)
	}
	got := make([]byte, bootCode)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, boot) {
		t.Errorf("the boot code changed (%v)", err)
	}
	if n, err := tab.Grow(large); n != 0 || err != nil {
		t.Errorf("a second growth moved partition %d, %v", n, err)
	}
}

// With the beginning destroyed, the copy at the end is read.
func TestReadFallsBackToTheCopy(t *testing.T) {
	const size = 64 << 20
	f := newDisk(t, size)
	tab, err := New(NewGUID(), size, 512)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := ParseGUID(TypeLinux)
	if err != nil {
		t.Fatal(err)
	}
	tab.Partitions[0] = Partition{Type: typ, ID: NewGUID(), First: 2048, Last: 4095, Name: "data"}
	if err := tab.Write(f, size); err != nil {
		t.Fatal(err)
	}
	if out := sgdisk(t, "-v", f.Name()); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	if _, err := f.WriteAt(make([]byte, 1024), 512); err != nil {
		t.Fatal(err)
	}
	got, err := Read(f, size, 512)
	if err != nil || got.Partitions[0] != tab.Partitions[0] {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := f.WriteAt(make([]byte, 512), size-512); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(f, size, 512); err == nil {
		t.Error("a disk without either table was read")
	}
}

func TestGrowRefusesASmallerDisk(t *testing.T) {
	tab, err := New(NewGUID(), 64<<20, 512)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := ParseGUID(TypeLinux)
	tab.Partitions[0] = Partition{Type: typ, First: 2048, Last: tab.Last}
	if _, err := tab.Grow(32 << 20); err == nil {
		t.Error("grew to a smaller disk")
	}
}

func TestGUIDRoundTrip(t *testing.T) {
	g, err := ParseGUID(TypeESP)
	if err != nil || g.String() != TypeESP || g[0] != 0x28 {
		t.Errorf("%s %x %v", g, g[:], err)
	}
}

// Whatever is on a disk, reading ends with a table that can be written back and
// read again as the same, or with an error.
func FuzzRead(f *testing.F) {
	const size = 64 * 512
	tab, err := New(GUID{1}, 64<<20, 512)
	if err != nil {
		f.Fatal(err)
	}
	typ, _ := ParseGUID(TypeLinux)
	tab.Partitions[0] = Partition{Type: typ, First: 2048, Last: 4095, Name: "x"}
	entries, _ := tab.encodeEntries()
	disk := append(append(make([]byte, 512), tab.header(1, 63, 2, 0)...), entries...)
	f.Add(append(disk, make([]byte, size-len(disk))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := Read(bytes.NewReader(b), int64(len(b)), 512)
		if err != nil {
			return
		}
		for _, p := range tab.Partitions {
			if p.Type != (GUID{}) && p.Last < p.First {
				t.Fatalf("%+v", p)
			}
		}
	})
}
