package configure

import "strings"

// table is a file of lines with fields between colons, such as passwd(5). Lines
// that are no records are kept as one field.
type table [][]string

func parseTable(s string) table {
	var t table
	for _, l := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		if l != "" {
			t = append(t, strings.Split(l, ":"))
		}
	}
	return t
}

// find returns the record of a name, to be changed in place, or nil.
func (t table) find(name string) []string {
	for _, f := range t {
		if f[0] == name && len(f) > 1 {
			return f
		}
	}
	return nil
}

// set adds a record. NIS' "+" lines must stay last.
func (t *table) set(f []string) {
	i := len(*t)
	for i > 0 && strings.HasPrefix((*t)[i-1][0], "+") {
		i--
	}
	*t = append((*t)[:i], append(table{f}, (*t)[i:]...)...)
}

// String is the file.
func (t table) String() string {
	var b strings.Builder
	for _, f := range t {
		b.WriteString(strings.Join(f, ":"))
		b.WriteByte('\n')
	}
	return b.String()
}
