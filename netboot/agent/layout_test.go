package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-pod/gantry/netboot/confine"
)

// The arrays come behind what the image's mdadm.conf says, at Debian's place or
// the common one.
func TestAddMdadm(t *testing.T) {
	for _, c := range []struct{ folder, file, old, want string }{
		{"etc/mdadm", "etc/mdadm/mdadm.conf", "HOMEHOST <system>\n", "HOMEHOST <system>\n\nARRAY a\n"},
		{"etc/mdadm", "etc/mdadm/mdadm.conf", "", "\nARRAY a\n"},
		{"etc", "etc/mdadm.conf", "", "\nARRAY a\n"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, c.folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if c.old != "" {
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.old), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		root, err := confine.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := addMdadm(root, "ARRAY a\n"); err != nil {
			t.Error(err)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, c.file)); err != nil || string(b) != c.want {
			t.Errorf("%s: %q, %v", c.file, b, err)
		}
	}
}
