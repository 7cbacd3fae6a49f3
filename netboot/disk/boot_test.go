package disk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/netboot/job"
)

func TestMdadm(t *testing.T) {
	m := Made{Arrays: []Array{{Device: "/dev/md2", Name: "boot", UUID: "00000000:11111111:22222222:33333333"}}}
	want := "# Made by Gantry.\nARRAY /dev/md/boot metadata=1.2 UUID=00000000:11111111:22222222:33333333\n"
	if got := m.Mdadm(); got != want {
		t.Errorf("got:\n%s", got)
	}
	if got := (&Made{}).Mdadm(); got != "" {
		t.Errorf("without arrays: %q", got)
	}
}

// An image that cannot start from what the layout has is refused by name.
func TestSuits(t *testing.T) {
	dir := t.TempDir()
	raid, lvm := &Made{Arrays: []Array{{}}}, &Made{LVM: true}
	for name, m := range map[string]*Made{"mdadm": raid, "lvm": lvm} {
		if err := m.suits(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := raid.initramfs(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "dracut") {
		t.Errorf("without update-initramfs: %v", err)
	}
	for _, p := range []string{"usr/sbin/mdadm", "sbin/lvm"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*Made{raid, lvm, {}} {
		if err := m.suits(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestBootable(t *testing.T) {
	use := func(uses ...string) *job.Layout {
		l := &job.Layout{}
		for _, u := range uses {
			l.Partitions = append(l.Partitions, job.Partition{Use: u})
		}
		return l
	}
	for _, c := range []struct {
		l        *job.Layout
		firmware string
		ok       bool
	}{
		{use("bios", "root"), "bios", true}, {use("bios", "root"), "uefi", false}, {use("esp", "root"), "uefi", true}, {use("esp", "root"), "bios", false},
		{use("bios", "esp", "lvm"), "bios", true}, {use("bios", "lvm", "lvm"), "bios", false},
	} {
		if err := Bootable(c.l, c.firmware); (err == nil) != c.ok {
			t.Errorf("%+v under %s: %v", c.l, c.firmware, err)
		}
	}
}

// What an old whole-disk array or file system left is cleared besides what the
// new partitions cover.
func TestSignatures(t *testing.T) {
	const size = 1 << 30
	tab, err := Table(&testLayout, size, 4096)
	if err != nil {
		t.Fatal(err)
	}
	got := signatures(tab, size, 4096)
	for _, want := range []int64{0, size - mib, int64(tab.Partitions[2].First) * 4096, int64(tab.Partitions[2].Last+1)*4096 - mib} {
		if !slices.Contains(got, want) {
			t.Errorf("byte %d is not among %v", want, got)
		}
	}
	if len(got) != 2+2*len(testLayout.Partitions) {
		t.Errorf("%d places", len(got))
	}
}

type recorder struct{ ran []string }

func (r *recorder) Run(_ context.Context, name string, args ...string) (string, error) {
	r.ran = append(r.ran, name+" "+strings.Join(args, " "))
	return "", nil
}

// LVM is shown the layout's device only, and the volume that takes the rest is
// made when the others have their room.
func TestVolumes(t *testing.T) {
	var m Made
	r := &recorder{}
	p := job.Partition{Use: "lvm", Volumes: []job.Partition{{Name: "root", Use: "root"}, {Name: "var", Use: "data", FS: "xfs", Mount: "/var", Size: mib}}}
	if err := m.volumes(t.Context(), "/dev/md3", p, r); err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, l := range r.ran {
		if !strings.HasPrefix(l, "lvm ") {
			continue
		}
		if !strings.Contains(l, " --devices /dev/md3 ") {
			t.Errorf("%s: sees every disk", l)
		}
		if _, after, ok := strings.Cut(l, " -n "); ok {
			made = append(made, after)
		}
	}
	if want := []string{"var -L 1m gantry", "root -l 100%FREE gantry"}; !slices.Equal(made, want) || !m.LVM {
		t.Errorf("%q, want %q", made, want)
	}
}
