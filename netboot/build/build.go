// Package build makes the netboot system's files: the stock kernel of a Debian
// package, unmodified and with its signature; the same kernel repacked so that
// BIOS machines start it sooner (see [Repack]); and an initramfs whose /init is
// the Gantry agent.
//
// The initramfs is two cpio archives (newc) behind each other. The first is
// compressed with zstd and holds what every boot needs: the agent. The second is
// plain and holds what is compressed by itself and only unpacked when it is
// asked for: each kernel module, and the tools (mdadm, lvm, mkfs ...) as one
// archive. So a boot decompresses only what it uses.
//
// The result depends on the inputs' bytes only: the same kernel package, agent
// and tools give the same file, byte for byte.
package build

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gantry-pod/gantry/netboot/modules"
)

// Config says what to build from.
type Config struct {
	// Kernel is an unpacked linux-image package: boot/vmlinuz-* and
	// lib/modules/* are used.
	Kernel string
	// Agent is the static gantry-netboot binary.
	Agent string
	// Firmware is a folder such as /lib/firmware; files there that a module
	// asks for are included. Empty, or a file that is not there, includes none.
	Firmware string
	// Tools are programs of this machine, with the libraries they need, by name
	// or path. Each must exist.
	Tools []string
	// Lacking, if set, is told which modules ask for firmware of which the folder
	// has nothing: their devices do not work or work with less.
	Lacking func(modules []string)
	// Cache is a folder of what was compressed before, by digest; empty is none.
	Cache string
	// Out is the folder for vmlinuz, vmlinuz-bios and initrd.img.
	Out string
}

// Size is one line of the size table: bytes before compression and in the file.
type Size struct {
	What       string
	Files      int
	Raw, Bytes int64
}

// Build writes Out/vmlinuz, Out/vmlinuz-bios and Out/initrd.img and says what
// takes the space.
func Build(c Config) ([]Size, error) {
	vmlinuz, err := readOne(filepath.Join(c.Kernel, "boot/vmlinuz-*"))
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	agent, err := os.ReadFile(c.Agent)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	mods, err := c.moduleRecords()
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	tools, err := c.toolRecords()
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	early, err := archive(agentRecords(agent))
	if err != nil {
		return nil, err
	}
	packed, err := c.compress(early)
	if err != nil {
		return nil, err
	}
	late, err := archive(append(mods.records, tools.records...))
	if err != nil {
		return nil, err
	}
	initrd := append(pad4(packed), late...)
	bios, err := c.kept("bios", append(bytes.Clone(stub), vmlinuz...), func() ([]byte, error) { return Repack(vmlinuz) })
	if err != nil {
		return nil, err
	}
	if err := c.write(map[string][]byte{"vmlinuz": vmlinuz, "vmlinuz-bios": bios, "initrd.img": initrd}); err != nil {
		return nil, err
	}
	return []Size{
		{"kernel", 1, int64(len(vmlinuz)), int64(len(vmlinuz))},
		{"kernel for BIOS", 1, int64(len(vmlinuz)), int64(len(bios))},
		{"agent", 1, int64(len(agent)), int64(len(packed))},
		mods.size, tools.size,
		{"initrd.img", 1, int64(len(early) + len(late)), int64(len(initrd))},
	}, nil
}

func (c Config) write(files map[string][]byte) error {
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := replaceFile(filepath.Join(c.Out, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file so that whoever reads it sees the old or the new one.
func replaceFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// group is a set of files that belong together in the size table.
type group struct {
	records []cpio.Record
	size    Size
}

func (g *group) add(name string, raw int, content []byte, mode uint64) {
	g.records = append(g.records, cpio.StaticFile(name, string(content), mode))
	g.size.Files++
	g.size.Raw += int64(raw)
	g.size.Bytes += int64(len(content))
}

// agentRecords are the agent and what the kernel and Go's runtime expect.
func agentRecords(agent []byte) []cpio.Record {
	return []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Directory("proc", 0o555),
		cpio.Directory("sys", 0o555),
		cpio.Directory("run", 0o755),
		cpio.Directory("tmp", 0o1777),
		cpio.Directory("mnt", 0o755),
		cpio.Directory("root", 0o700),
		cpio.Directory("etc", 0o755),
		cpio.Directory("sbin", 0o755),
		cpio.StaticFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
		cpio.StaticFile("etc/group", "root:x:0:\ndisk:x:6:\n", 0o644),
		cpio.StaticFile("init", string(agent), 0o755),
	}
}

// archive writes records as one newc archive, in order, with times and inode
// numbers that depend on nothing.
func archive(rs []cpio.Record) ([]byte, error) {
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	seen := map[string]bool{}
	for i, r := range rs {
		if err := parents(w, r.Name, seen); err != nil {
			return nil, err
		}
		seen[r.Name] = true
		r.Ino, r.MTime, r.NLink = uint64(i+1), 0, 1
		if err := w.WriteRecord(r); err != nil {
			return nil, fmt.Errorf("archive %s: %w", r.Name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parents writes the folders above name that were not written yet: the kernel's
// unpacker makes none by itself.
func parents(w cpio.RecordWriter, name string, seen map[string]bool) error {
	dir := filepath.Dir(name)
	if dir == "." || dir == "/" || seen[dir] {
		return nil
	}
	if err := parents(w, dir, seen); err != nil {
		return err
	}
	seen[dir] = true
	r := cpio.Directory(dir, 0o755)
	r.MTime, r.NLink = 0, 2
	return w.WriteRecord(r)
}

// pad4 makes the length a multiple of 4: the kernel looks for a plain archive at
// such offsets only (init/initramfs.c, unpack_to_rootfs).
func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func readOne(pattern string) ([]byte, error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("nothing matches %s", pattern)
	}
	sort.Strings(names)
	return os.ReadFile(names[len(names)-1])
}

// index makes the module index of mods.
func index(mods []modinfo) []byte {
	var ms []modules.Module
	for _, m := range mods {
		ms = append(ms, m.Module)
	}
	return modules.NewIndex(ms).Encode()
}
