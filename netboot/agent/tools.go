package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// toolsArchive is the builder's archive of programs, see netboot/build.
const toolsArchive = "/tools.tar.zst"

// Tools runs the programs that the initramfs carries; they are unpacked at the
// first use. It is safe for concurrent use.
type Tools struct {
	unpack func() error
}

// NewTools unpacks from archive into dir when a tool is first asked for.
func NewTools(archive, dir string) *Tools {
	return &Tools{unpack: sync.OnceValue(func() error { return unpackTools(archive, dir) })}
}

// Unpack makes the tools available to whoever else starts programs.
func (t *Tools) Unpack() error { return t.unpack() }

// Run runs a tool with nothing on its standard input and returns what it wrote.
// The error has its last lines.
func (t *Tools) Run(ctx context.Context, name string, args ...string) (string, error) {
	if err := t.unpack(); err != nil {
		return "", fmt.Errorf("unpack the tools: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/bin/"+name, args...)
	cmd.Env = []string{"PATH=/bin", "HOME=/root", "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1", "DM_DISABLE_UDEV=1"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(out.String()))
	}
	return out.String(), nil
}

const lastLinesBytes = 600

func lastLines(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > lastLinesBytes {
		s = "… " + s[len(s)-lastLinesBytes:]
	}
	return strings.ReplaceAll(s, "\n", " | ")
}

// unpackTools trusts the archive: it is part of the initramfs.
func unpackTools(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return linkShell(dir)
		}
		if err != nil {
			return err
		}
		if err := unpackFile(filepath.Join(dir, h.Name), h, r); err != nil {
			return err
		}
	}
}

func unpackFile(name string, h *tar.Header, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(h.Mode))
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// linkShell gives busybox its names, where no fuller tool has them.
func linkShell(dir string) error {
	out, err := exec.Command(filepath.Join(dir, "bin/busybox"), "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	for _, name := range strings.Fields(string(out)) {
		err := os.Symlink("busybox", filepath.Join(dir, "bin", name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
