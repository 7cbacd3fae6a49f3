package modules

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Module is one kernel module of the index.
type Module struct {
	// Name is canonical, see [Canonical].
	Name string
	// Needs are modules that must be loaded before it.
	Needs []string
	// Soft are modules that it would like to be loaded before it.
	Soft []string
	// Aliases are patterns of modaliases that it drives.
	Aliases []string
}

// Index is what the initramfs' modules are and what they drive.
type Index struct {
	Modules map[string]Module
	aliases []alias
}

type alias struct{ pattern, module string }

// Canonical is a module's name as the kernel compares it: '-' is '_'.
func Canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// NewIndex makes an index of modules; later ones of the same name win.
func NewIndex(mods []Module) *Index {
	ix := &Index{Modules: map[string]Module{}}
	for _, m := range mods {
		m.Name = Canonical(m.Name)
		ix.Modules[m.Name] = m
	}
	for _, m := range ix.sorted() {
		for _, a := range m.Aliases {
			ix.aliases = append(ix.aliases, alias{a, m.Name})
		}
	}
	return ix
}

func (ix *Index) sorted() []Module {
	var all []Module
	for _, m := range ix.Modules {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Module) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Encode writes the index as text: "m NAME NEEDS SOFT" with comma-separated
// lists ("-" if empty), each followed by its "a PATTERN" lines. The result
// depends on the modules only.
func (ix *Index) Encode() []byte {
	var b bytes.Buffer
	for _, m := range ix.sorted() {
		fmt.Fprintf(&b, "m %s %s %s\n", m.Name, list(m.Needs), list(m.Soft))
		for _, a := range m.Aliases {
			fmt.Fprintf(&b, "a %s\n", a)
		}
	}
	return b.Bytes()
}

func list(s []string) string {
	if len(s) == 0 {
		return "-"
	}
	return strings.Join(s, ",")
}

func unlist(s string) []string {
	if s == "-" {
		return nil
	}
	return strings.Split(s, ",")
}

// ParseIndex reads what Encode wrote.
func ParseIndex(b []byte) (*Index, error) {
	var mods []Module
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		f := strings.Fields(sc.Text())
		switch {
		case len(f) == 4 && f[0] == "m":
			mods = append(mods, Module{Name: f[1], Needs: unlist(f[2]), Soft: unlist(f[3])})
		case len(f) == 2 && f[0] == "a" && len(mods) > 0:
			m := &mods[len(mods)-1]
			m.Aliases = append(m.Aliases, f[1])
		default:
			return nil, fmt.Errorf("index of kernel modules, line %d: %q is neither a module nor an alias", n, sc.Text())
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("index of kernel modules: %w", err)
	}
	return NewIndex(mods), nil
}

// Match returns the modules whose aliases match a modalias.
func (ix *Index) Match(modalias string) []string {
	var out []string
	for _, a := range ix.aliases {
		if !slices.Contains(out, a.module) && glob(a.pattern, modalias) {
			out = append(out, a.module)
		}
	}
	return out
}

// glob is fnmatch(3) without flags, as depmod's aliases use it: '*', '?' and
// '[...]' with ranges; '/' is nothing special.
func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) && p[i] == '*' {
			star, mark = i, j
			i++
			continue
		}
		if n, ok := one(p[i:], s[j]); ok {
			i, j = i+n, j+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// one matches the first element of p with c and returns the element's length.
func one(p string, c byte) (int, bool) {
	if p == "" {
		return 0, false
	}
	switch p[0] {
	case '?':
		return 1, true
	case '[':
		end := strings.IndexByte(p, ']')
		if end < 0 {
			return 1, c == '['
		}
		return end + 1, inSet(p[1:end], c)
	}
	return 1, p[0] == c
}

func inSet(set string, c byte) bool {
	for k := 0; k < len(set); k++ {
		if k+2 < len(set) && set[k+1] == '-' {
			if set[k] <= c && c <= set[k+2] {
				return true
			}
			k += 2
			continue
		}
		if set[k] == c {
			return true
		}
	}
	return false
}
