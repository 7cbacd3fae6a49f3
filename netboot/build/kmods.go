package build

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/netboot/modules"
)

// tree is the modules of an unpacked kernel package.
type tree struct {
	files   map[string]string // canonical name to path
	builtin map[string]bool
}

func openTree(kernel string) (*tree, error) {
	dirs, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*"))
	if err != nil || len(dirs) == 0 {
		return nil, fmt.Errorf("no lib/modules in %s", kernel)
	}
	dir := slices.Max(dirs)
	t := &tree{files: map[string]string{}, builtin: map[string]bool{}}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(p string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(path.Base(p), ".ko"); err == nil && ok {
			t.files[modules.Canonical(name)] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, l := range strings.Fields(string(b)) {
		t.builtin[modules.Canonical(strings.TrimSuffix(path.Base(l), ".ko"))] = true
	}
	return t, nil
}

// loaded is one module with its bytes.
type loaded struct {
	modinfo
	image []byte
}

// closure reads the named modules and all that they need.
func (t *tree) closure(names []string) (map[string]loaded, error) {
	out := map[string]loaded{}
	todo := slices.Clone(names)
	for len(todo) > 0 {
		name := modules.Canonical(todo[0])
		todo = todo[1:]
		if _, ok := out[name]; ok || t.builtin[name] {
			continue
		}
		file, ok := t.files[name]
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		ko, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := readModinfo(ko)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out[name] = loaded{m, ko}
		todo = append(todo, m.Needs...)
		todo = append(todo, t.known(m.Soft)...)
	}
	t.resolveSoft(out)
	return out, nil
}

// known drops soft dependencies that no module file is named after: aliases,
// such as crypto-crc32c, which resolveSoft looks up.
func (t *tree) known(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return t.files[n] == "" })
}

// resolveSoft replaces soft dependencies that are aliases by the modules that
// have them, and drops those that no chosen module has.
func (t *tree) resolveSoft(chosen map[string]loaded) {
	byAlias := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		for _, a := range chosen[name].Aliases {
			a = modules.Canonical(a)
			byAlias[a] = append(byAlias[a], name)
		}
	}
	for name, l := range chosen {
		var soft []string
		for _, s := range l.Soft {
			if _, ok := chosen[s]; ok {
				soft = append(soft, s)
			} else {
				soft = append(soft, byAlias[s]...)
			}
		}
		l.Soft = slices.DeleteFunc(soft, func(s string) bool { return s == name })
		l.Needs = slices.DeleteFunc(l.Needs, func(s string) bool { return t.builtin[s] })
		chosen[name] = l
	}
}

// moduleRecords packs the wanted modules, their index and firmware.
func (c Config) moduleRecords() (group, error) {
	g := group{size: Size{What: "modules"}}
	t, err := openTree(c.Kernel)
	if err != nil {
		return g, err
	}
	chosen, err := t.closure(wanted[:])
	if err != nil {
		return g, err
	}
	var infos []modinfo
	firmware := map[string]bool{}
	var lacking []string
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		m := chosen[name]
		infos = append(infos, m.modinfo)
		packed, err := c.compress(m.image)
		if err != nil {
			return g, err
		}
		g.add(path.Join(modules.Dir, name+".ko.zst"), len(m.image), packed, 0o644)
		for _, f := range m.firmware {
			firmware[f] = true
		}
		if len(m.firmware) > 0 && !slices.ContainsFunc(m.firmware, c.hasFirmware) {
			lacking = append(lacking, name)
		}
	}
	if c.Lacking != nil && len(lacking) > 0 {
		c.Lacking(lacking)
	}
	ix := index(infos)
	g.add(path.Join(modules.Dir, modules.IndexName), len(ix), ix, 0o644)
	return g, c.addFirmware(&g, slices.Sorted(maps.Keys(firmware)))
}

// firmwareFile is where the file of that name would be.
func (c Config) firmwareFile(name string) string {
	return filepath.Join(c.Firmware, filepath.Clean("/"+name))
}

func (c Config) hasFirmware(name string) bool {
	if c.Firmware == "" {
		return false
	}
	_, err := os.Stat(c.firmwareFile(name))
	return err == nil
}

// addFirmware adds the files that the folder has; a driver without its firmware
// says so itself when it loads.
func (c Config) addFirmware(g *group, names []string) error {
	if c.Firmware == "" {
		return nil
	}
	for _, n := range names {
		b, err := os.ReadFile(c.firmwareFile(n))
		if err != nil {
			continue
		}
		g.add(path.Join("lib/firmware", n), len(b), bytes.Clone(b), 0o644)
	}
	return nil
}
