package confine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

var me = Owner{os.Getuid(), os.Getgid()}

// tree makes an image root with links that try to lead out, and a secret beside
// it that they try to reach.
func tree(t *testing.T) (d *Dir, root, outside string) {
	t.Helper()
	base := t.TempDir()
	root, outside = filepath.Join(base, "root"), filepath.Join(base, "outside")
	for _, p := range []string{root + "/etc", outside} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"etc/up": "../../outside", "etc/abs": outside, "etc/file": outside + "/secret", "escape": "../../../../../../" + outside,
		"etc/inner": "/etc/real", "etc/loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/secret", []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, root, outside
}

func TestNothingLeadsOut(t *testing.T) {
	d, _, outside := tree(t)
	for _, name := range []string{"etc/up/secret", "etc/abs/secret", "etc/file", "escape/secret", "../outside/secret", "etc/../../outside/secret"} {
		if b, err := d.ReadFile(name); err == nil {
			t.Errorf("read %s: %q", name, b)
		}
		_ = d.WriteFile(name, []byte("theirs"), 0o644, me)
		_ = d.MkdirAll(name+"/deep", 0o755, me)
		_ = d.Remove(name)
	}
	b, err := os.ReadFile(outside + "/secret")
	if err != nil || string(b) != "ours" {
		t.Errorf("outside: %q, %v", b, err)
	}
	if es, _ := os.ReadDir(outside); len(es) != 1 {
		t.Errorf("outside has %v", es)
	}
}

// An absolute link inside an image means the image's own file.
func TestAbsoluteLinksStayInside(t *testing.T) {
	d, root, _ := tree(t)
	if err := d.MkdirAll("/etc/real", 0o755, me); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("etc/inner/x", []byte("1"), 0o640, me); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(root + "/etc/real/x")
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st, err)
	}
	if err := d.WriteFile("etc/file", []byte("new"), 0o644, me); err != nil {
		t.Fatal(err)
	}
	if b, err := d.ReadFile("etc/file"); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestOddFilesAreRefused(t *testing.T) {
	d, root, _ := tree(t)
	if err := unix.Mkfifo(root+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadFile("fifo"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("fifo: %v", err)
	}
	if _, err := d.ReadFile("etc/loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: %v", err)
	}
	if _, err := d.ReadFile("etc"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("folder: %v", err)
	}
	big, err := os.Create(root + "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	if err := big.Truncate(MaxFile + 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadFile("big"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("big: %v", err)
	}
}
