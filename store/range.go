package store

import "bytes"

// Range is a half-open interval of keys, and the direction to walk it in. The
// zero Range is everything, ascending.
type Range struct {
	// Prefix, if set, limits the range to keys that begin with it. Because an
	// element is only ever whole, K("web") does not match K("web1").
	Prefix Key
	// From, if set, is the lowest key of the range. It is a whole key, not
	// relative to Prefix.
	From Key
	// To, if set, is the first key past the range.
	To Key
	// Reverse walks from the highest key to the lowest.
	Reverse bool
}

// bounds gives r's limits in the engine, where space goes before each key.
func (r Range) bounds(space []byte) (from, to []byte) {
	from = concat(space, r.Prefix)
	to = prefixEnd(from)
	if f := concat(space, r.From); bytes.Compare(f, from) > 0 {
		from = f
	}
	if r.To != nil {
		if t := concat(space, r.To); to == nil || bytes.Compare(t, to) < 0 {
			to = t
		}
	}
	return from, to
}

// prefixEnd returns the first key past all those that begin with p, or nil if
// there is none because p is all 0xff.
func prefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := bytes.Clone(p[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

func concat(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
