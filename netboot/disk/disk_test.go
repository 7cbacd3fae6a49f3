package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/netboot/disk/gpt"
	"github.com/gantry-pod/gantry/netboot/job"
)

func TestChoose(t *testing.T) {
	yes, no := true, false
	disks := []job.Disk{
		{Path: "/dev/sdb", Bytes: 100, Serial: "B", Rotational: true}, {Path: "/dev/sda", Bytes: 100, Serial: "A", WWN: "0x5A"},
		{Path: "/dev/sdc", Bytes: 50, Serial: "C"}, {Path: "/dev/sdd", Bytes: 60, Serial: "USB", Removable: true},
	}
	for _, c := range []struct {
		name string
		hint job.DiskHint
		need int64
		want string // path, or the problem's code
	}{
		{"smallest that fits", job.DiskHint{}, 40, "/dev/sdc"},
		{"never removable unasked", job.DiskHint{}, 55, "/dev/sda"},
		{"removable by name", job.DiskHint{Serial: "USB"}, 55, "/dev/sdd"},
		{"rotational", job.DiskHint{Rotational: &yes}, 1, "/dev/sdb"},
		{"not rotational, large", job.DiskHint{Rotational: &no, MinBytes: 51}, 1, "/dev/sda"},
		{"WWN in any case", job.DiskHint{WWN: "0x5a"}, 1, "/dev/sda"},
		{"no such serial", job.DiskHint{Serial: "X"}, 1, "disk-not-found"},
		{"both must match", job.DiskHint{Serial: "A", Path: "/dev/sdb"}, 1, "disk-not-found"},
		{"too small", job.DiskHint{Serial: "C"}, 51, "disk-too-small"},
		{"all too small", job.DiskHint{}, 101, "disk-too-small"},
	} {
		d, err := Choose(disks, c.hint, c.need)
		got := d.Path
		var p *job.Problem
		if errors.As(err, &p) {
			got = p.Code
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

// An image goes to a disk with sectors of the size that it was made for.
func TestChooseFor(t *testing.T) {
	disks := []job.Disk{{Path: "/dev/nvme0n1", Bytes: 50, SectorSize: 4096}, {Path: "/dev/sda", Bytes: 100, SectorSize: 512}}
	for _, c := range []struct {
		name   string
		disks  []job.Disk
		hint   job.DiskHint
		sector int
		want   string
	}{
		{"512", disks, job.DiskHint{}, 512, "/dev/sda"},
		{"4096", disks, job.DiskHint{}, 4096, "/dev/nvme0n1"},
		{"any", disks, job.DiskHint{}, 0, "/dev/nvme0n1"},
		{"only the other", disks[:1], job.DiskHint{}, 512, "disk-sector-size"},
		{"asked for the other", disks, job.DiskHint{Path: "/dev/nvme0n1"}, 512, "disk-sector-size"},
		{"no such disk", disks, job.DiskHint{Path: "/dev/sdx"}, 512, "disk-not-found"},
		{"too small either way", disks[:1], job.DiskHint{MinBytes: 99}, 512, "disk-too-small"},
	} {
		d, err := ChooseFor(c.disks, c.hint, 40, c.sector)
		got := d.Path
		var p *job.Problem
		if errors.As(err, &p) {
			got = p.Code
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

var testLayout = job.Layout{RAID1: true, Partitions: []job.Partition{
	{Name: "grub", Size: mib, Use: "bios"}, {Name: "efi", Size: 64 * mib, Use: "esp"}, {Name: "boot", Size: 100 * mib, Use: "data", FS: "ext4", Mount: "/boot"},
	{Name: "pv", Use: "lvm", Volumes: []job.Partition{{Name: "root", Size: 200 * mib, Use: "root"}, {Name: "var", Use: "data", FS: "xfs", Mount: "/var"}}},
	{Name: "swap", Size: 16 * mib, Use: "swap"},
}}

func TestTableFillsTheDisk(t *testing.T) {
	const size = 1 << 30
	tab, err := Table(&testLayout, size, 512)
	if err != nil {
		t.Fatal(err)
	}
	end := uint64(2048)
	for i, p := range testLayout.Partitions {
		g := tab.Partitions[i]
		if g.First != end || g.Name != p.Name || p.Size > 0 && g.Sectors()*512 != uint64(p.Size) {
			t.Errorf("%d: %+v, expected to begin at %d", i, g, end)
		}
		end = g.Last + 1
	}
	if free := size/512 - end; free > 2*2048 {
		t.Errorf("%d sectors are left over", free)
	}
	var p *job.Problem
	if _, err := Table(&testLayout, 150*mib, 512); !errors.As(err, &p) || p.Code != "disk-too-small" {
		t.Error(err)
	}
}

func TestValidateLayout(t *testing.T) {
	if err := testLayout.Validate(); err != nil {
		t.Error(err)
	}
	root := job.Partition{Name: "r", Use: "root"}
	for name, ps := range map[string][]job.Partition{
		"empty": nil, "no root": {{Name: "d", Use: "data", FS: "ext4", Mount: "/d"}}, "two rests": {root, {Name: "s", Use: "swap"}},
		"odd size": {{Name: "r", Use: "root", Size: 5}}, "same name": {root, {Name: "r", Use: "swap", Size: mib}}, "two roots": {root, {Name: "q", Use: "root", Size: mib}},
		"escape": {root, {Name: "d", Size: mib, Use: "data", FS: "ext4", Mount: "/../etc"}}, "relative": {root, {Name: "d", Size: mib, Use: "data", FS: "ext4", Mount: "d"}},
		"name": {{Name: "-rf", Use: "root"}}, "fs": {{Name: "r", Use: "root", FS: "ntfs"}}, "use": {root, {Name: "x", Size: mib, Use: "x"}},
		"nested":          {root, {Name: "p", Size: mib, Use: "lvm", Volumes: []job.Partition{{Name: "e", Use: "esp"}}}},
		"fstab injection": {root, {Name: "d", Size: mib, Use: "data", FS: "ext4", Mount: "/d\nx"}},
	} {
		if (&job.Layout{Partitions: ps}).Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// Tars that try every way out of the folder write nothing outside of it.
func TestUntarStaysInside(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	for _, d := range []string{outside, filepath.Join(base, "root")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, hs := range [][]tar.Header{
		{{Name: "../outside/x", Typeflag: tar.TypeReg}},
		{{Name: outside + "/x", Typeflag: tar.TypeReg}},
		{{Name: "l", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "l/x", Typeflag: tar.TypeReg}},
		{{Name: "m", Linkname: "../outside", Typeflag: tar.TypeSymlink}, {Name: "m/x", Typeflag: tar.TypeReg}},
		{{Name: "n", Linkname: "../outside/y", Typeflag: tar.TypeSymlink}, {Name: "n", Typeflag: tar.TypeReg}},
		{{Name: "h", Linkname: "../../etc/passwd", Typeflag: tar.TypeLink}},
		{{Name: "o", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "o", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "o/x", Typeflag: tar.TypeReg}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range hs {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, _ = Untar(t.Context(), &b, filepath.Join(base, "root"), nil)
		if es, _ := os.ReadDir(outside); len(es) != 0 {
			t.Fatalf("%+v reached %v", hs, es)
		}
	}
}

func TestUntarKeepsWhatIsInTheTar(t *testing.T) {
	dir := t.TempDir()
	when := time.Unix(1_600_000_000, 0)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when}, {Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o750, ModTime: when},
		{Name: "./d/f", Typeflag: tar.TypeReg, Mode: 0o4711, Size: 5, Uid: 12, Gid: 34, ModTime: when, PAXRecords: map[string]string{xattrRecord + "trusted.gantry": "v"}},
		{Name: "./d/l", Typeflag: tar.TypeSymlink, Linkname: "/d/f", ModTime: when}, {Name: "./d/h", Typeflag: tar.TypeLink, Linkname: "./d/f"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := Untar(t.Context(), &b, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Verify(t.Context(), nil); err != nil || files.Bytes != 5 {
		t.Errorf("%d bytes, %v", files.Bytes, err)
	}
	st, err := os.Stat(filepath.Join(dir, "d/h"))
	if err != nil || st.Mode().Perm() != 0o711 || st.Mode()&os.ModeSetuid == 0 || !st.ModTime().Equal(when) || st.Size() != 5 {
		t.Errorf("%v, %v", st, err)
	}
	if d, err := os.Stat(filepath.Join(dir, "d")); err != nil || !d.ModTime().Equal(when) || d.Mode().Perm() != 0o750 {
		t.Errorf("folder: %v, %v", d, err)
	}
	if l, err := os.Readlink(filepath.Join(dir, "d/l")); l != "/d/f" {
		t.Errorf("link: %s, %v", l, err)
	}
}

func TestFstab(t *testing.T) {
	m := Made{Volumes: []Volume{{FS: "vfat", Mount: "/boot/efi", UUID: "AAAA-BBBB", Use: "esp"}, {FS: "vfat", Mount: "/boot/efi", UUID: "CCCC-DDDD", Use: "esp"}, {FS: "ext4", Mount: "/", UUID: "r"}, {FS: "swap", UUID: "s"}}}
	want := "# Made by Gantry.\nUUID=AAAA-BBBB /boot/efi vfat umask=0077,nofail,x-systemd.device-timeout=10s 0 2\nUUID=r / ext4 defaults 0 1\nUUID=s none swap sw 0 0\n"
	if got := m.Fstab(); got != want {
		t.Errorf("got:\n%s", strings.ReplaceAll(got, "\n", "|\n"))
	}
	if _, err := gpt.ParseGUID("x"); err == nil {
		t.Error("x is a GUID")
	}
}
