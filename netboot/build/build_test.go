package build

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

// The archive has each folder before what is in it, and the same bytes each time.
func TestArchiveIsReproducibleAndWhole(t *testing.T) {
	make := func() []byte {
		b, err := archive([]cpio.Record{cpio.StaticFile("lib/modules/a.ko.zst", "a", 0o644), cpio.StaticFile("lib/modules/b.ko.zst", "b", 0o644)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := make()
	if !bytes.Equal(one, make()) {
		t.Error("two archives differ")
	}
	rs, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(one)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rs {
		names = append(names, r.Name)
	}
	if got := len(names); got != 4 || names[0] != "lib" || names[1] != "lib/modules" {
		t.Errorf("%v", names)
	}
}

// A tool comes with its interpreter and all its libraries, and twice the same.
func TestToolsBringTheirLibraries(t *testing.T) {
	c := Config{Tools: []string{"mke2fs"}}
	one, err := c.toolRecords()
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.toolRecords()
	if err != nil || !bytes.Equal(content(t, one), content(t, two)) {
		t.Errorf("not reproducible, %v", err)
	}
	if one.size.Files < 5 {
		t.Errorf("%+v", one.size)
	}
	if _, err := (Config{Tools: []string{"no-such-tool"}}).toolRecords(); err == nil {
		t.Error("a tool that is not there")
	}
}

func content(t *testing.T, g group) []byte {
	t.Helper()
	b := make([]byte, g.size.Bytes)
	if _, err := g.records[0].ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReplaceFileLeavesNothingBehind(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	for _, s := range []string{"one", "two"} {
		if err := replaceFile(name, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if es, _ := os.ReadDir(filepath.Dir(name)); err != nil || string(b) != "two" || len(es) != 1 {
		t.Errorf("%q, %v, %v", b, es, err)
	}
}
