package sim

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSystem writes a system onto a disk, reads it back, and finds none on an
// empty disk.
func TestSystem(t *testing.T) {
	const size = 4 << 20
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadSystem(path); s != nil || err != nil {
		t.Fatalf("an empty disk has %+v, %v", s, err)
	}
	want := System{Instance: "i-1", Hostname: "web1", Key: make([]byte, 32)}
	if err := writeSystem(path, size, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSystem(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := got.signer(); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != size {
		t.Errorf("the disk has %v bytes, %v", st.Size(), err)
	}
}
