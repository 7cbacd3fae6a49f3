package build

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"

	"github.com/gantry-pod/gantry/netboot/modules"
)

// modinfo is what a kernel module says of itself.
type modinfo struct {
	modules.Module
	firmware []string
}

// readModinfo reads the .modinfo section of a module: NUL-terminated KEY=VALUE
// strings (include/linux/moduleparam.h). It is all that depmod knows too.
func readModinfo(ko []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return modinfo{}, err
	}
	sec := f.Section(".modinfo")
	if sec == nil {
		return modinfo{}, fmt.Errorf("no .modinfo section")
	}
	b, err := sec.Data()
	if err != nil {
		return modinfo{}, err
	}
	var m modinfo
	for _, kv := range strings.Split(string(b), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		m.add(k, v)
	}
	if m.Name == "" {
		return modinfo{}, fmt.Errorf("its .modinfo has no name")
	}
	return m, nil
}

func (m *modinfo) add(k, v string) {
	switch k {
	case "name":
		m.Name = modules.Canonical(v)
	case "depends":
		for _, d := range strings.Split(v, ",") {
			if d != "" {
				m.Needs = append(m.Needs, modules.Canonical(d))
			}
		}
	case "softdep":
		m.Soft = append(m.Soft, softPre(v)...)
	case "alias":
		m.Aliases = append(m.Aliases, v)
	case "firmware":
		m.firmware = append(m.firmware, v)
	}
}

// softPre returns the modules after "pre:" in a softdep.
func softPre(v string) []string {
	var out []string
	pre := false
	for _, w := range strings.Fields(v) {
		switch {
		case w == "pre:":
			pre = true
		case w == "post:":
			pre = false
		case pre:
			out = append(out, modules.Canonical(w))
		}
	}
	return out
}
