package store

// The engine's keys begin with one byte that says whose they are. Names end
// with a zero byte, which no name contains, so no name's keys run into another's:
//
//	'm' "format"                              the store's format
//	'm' "table" 0 table 0                     what is known of a table
//	't' table 0 primary-key                   a row
//	'i' table 0 index 0 key                   a unique index's entry: the primary key
//	'i' table 0 index 0 key 0 primary-key     another index's entry: the primary key
//	'r' space 0 key                           a raw pair
//
// The zero between key and primary key sorts below every element's tag, so that
// entries order by key first whatever the lengths of the tuples.
const (
	spaceMeta  = 'm'
	spaceRows  = 't'
	spaceIndex = 'i'
	spaceRaw   = 'r'

	nameEnd  = 0x00
	entryEnd = 0x00
)

func formatKey() []byte { return []byte{spaceMeta, 'f', 'o', 'r', 'm', 'a', 't'} }

func tableMetaKey(table string) []byte {
	return concat([]byte{spaceMeta}, []byte("table\x00"), []byte(table), []byte{nameEnd})
}

func rowPrefix(table string) []byte {
	return concat([]byte{spaceRows}, []byte(table), []byte{nameEnd})
}

func tableIndexPrefix(table string) []byte {
	return concat([]byte{spaceIndex}, []byte(table), []byte{nameEnd})
}

func rawPrefix(space string) []byte {
	return concat([]byte{spaceRaw}, []byte(space), []byte{nameEnd})
}

// validName reports whether a table, index or raw space may be called s.
func validName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.', c == '/':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 128
}
