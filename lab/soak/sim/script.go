package sim

import (
	"fmt"
	"net/url"
	"strings"
)

// script is what an iPXE script comes to on a machine with BIOS.
type script struct {
	disk    bool
	kernel  string
	args    []string
	initrds []string
}

// readScript reads a script that came from base. One that only waits and asks
// again comes to nothing.
func readScript(text, base string) (s script, err error) {
	from, err := url.Parse(base)
	if err != nil {
		return s, err
	}
	if !strings.HasPrefix(text, "#!ipxe\n") {
		return s, fmt.Errorf("what %s gives is no iPXE script", base)
	}
	abs := func(path string) string {
		u, err := from.Parse(path)
		if err != nil {
			return path
		}
		return u.String()
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if i := indexOf(words, "||"); i >= 0 {
			words = words[:i]
		}
		switch {
		case len(words) < 2:
		case words[0] == "sanboot":
			s.disk = true
		case words[0] == "kernel":
			s.kernel, s.args = abs(words[1]), words[2:]
		case words[0] == "initrd":
			s.initrds = append(s.initrds, abs(words[len(words)-1]))
		}
	}
	return s, nil
}

func indexOf(words []string, w string) int {
	for i := range words {
		if words[i] == w {
			return i
		}
	}
	return -1
}
