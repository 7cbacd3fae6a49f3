package build

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// ToolsArchive is where the initramfs has the tools: a zstd-compressed tar that
// the agent unpacks to / when a job needs one of them.
const ToolsArchive = "tools.tar.zst"

// DefaultTools are the programs that the agent calls. The Debian packages are
// e2fsprogs, xfsprogs, dosfstools, mdadm, lvm2 and busybox-static.
func DefaultTools() []string {
	return []string{"busybox", "mke2fs", "e2fsck", "resize2fs", "mkfs.xfs", "mkfs.vfat", "mdadm", "lvm"}
}

// libDirs is where Debian's amd64 libraries are.
var libDirs = [...]string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib", "/usr/lib"}

// toolRecords packs the tools and their libraries into one archive.
func (c Config) toolRecords() (group, error) {
	g := group{size: Size{What: "tools"}}
	if len(c.Tools) == 0 {
		return g, nil
	}
	files := map[string]string{} // path in the archive to path here
	for _, t := range c.Tools {
		p, err := exec.LookPath(t)
		if err != nil {
			return g, fmt.Errorf("%s is not installed here: %w", t, err)
		}
		files["bin/"+filepath.Base(t)] = p
		if err := libraries(p, files); err != nil {
			return g, fmt.Errorf("%s: %w", p, err)
		}
	}
	raw, err := tarFiles(files)
	if err != nil {
		return g, err
	}
	packed, err := c.compress(raw)
	if err != nil {
		return g, err
	}
	g.add(ToolsArchive, len(raw), packed, 0o644)
	g.size.Files = len(files)
	return g, nil
}

// libraries adds the interpreter and shared libraries that a program needs, by
// reading its ELF dynamic section: nothing foreign is run.
func libraries(name string, files map[string]string) error {
	f, err := elf.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return err
		}
		in := string(bytes.TrimRight(b, "\x00"))
		files[in[1:]] = in
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, l := range libs {
		if err := library(l, files); err != nil {
			return err
		}
	}
	return nil
}

func library(name string, files map[string]string) error {
	for _, d := range libDirs {
		p := filepath.Join(d, name)
		if _, err := os.Stat(p); err != nil {
			continue
		}
		in := "lib/x86_64-linux-gnu/" + name
		if _, done := files[in]; done {
			return nil
		}
		files[in] = p
		return libraries(p, files)
	}
	return fmt.Errorf("library %s is not in %v", name, libDirs)
}

// tarFiles makes a reproducible tar.
func tarFiles(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, in := range slices.Sorted(maps.Keys(files)) {
		content, err := os.ReadFile(files[in])
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: in, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
