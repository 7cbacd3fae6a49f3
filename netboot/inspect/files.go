package inspect

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// text is a small file's content without surrounding white space and NULs, or
// "" if it cannot be read.
func text(root fs.FS, name ...string) string {
	b, err := fs.ReadFile(root, path.Join(name...))
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), " \t\r\n\x00")
}

// number is a small file's decimal, or 0.
func number(root fs.FS, name ...string) int64 {
	n, err := strconv.ParseInt(text(root, name...), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// names are the entries of a folder, sorted.
func names(root fs.FS, dir string) []string {
	es, err := fs.ReadDir(root, dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

func exists(root fs.FS, name ...string) bool {
	_, err := fs.Stat(root, path.Join(name...))
	return err == nil
}

// link is a symbolic link's target, or "".
func link(root fs.FS, name ...string) string {
	s, err := fs.ReadLink(root, path.Join(name...))
	if err != nil {
		return ""
	}
	return s
}
