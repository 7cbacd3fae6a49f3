package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

var errKeySyntax = errors.New("not an encoded key")

// String writes the key's elements as a person would, ("web", 3); bytes that
// are not a key it writes in hexadecimal.
func (k Key) String() string {
	var parts []string
	for rest := []byte(k); len(rest) > 0; {
		part, tail, err := decodePart(rest)
		if err != nil {
			return fmt.Sprintf("0x%x", []byte(k))
		}
		parts = append(parts, formatPart(part))
		rest = tail
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func formatPart(part any) string {
	switch v := part.(type) {
	case string:
		return strconv.Quote(v)
	case []byte:
		return fmt.Sprintf("0x%x", v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(part)
}

// decodePart takes the first element off b. It accepts exactly what K writes,
// so that a key has one spelling.
func decodePart(b []byte) (part any, rest []byte, err error) {
	tag, rest := b[0], b[1:]
	switch {
	case tag == tagFalse || tag == tagTrue:
		return tag == tagTrue, rest, nil
	case tag >= tagInt-8 && tag <= tagInt+8:
		return decodeInt(int(tag)-tagInt, rest)
	case tag == tagTime:
		return decodeTime(rest)
	case tag == tagAddr:
		return decodeAddr(rest)
	case tag == tagBytes:
		return decodeEscaped(rest)
	case tag == tagString:
		s, rest, err := decodeEscaped(rest)
		return string(s), rest, err
	}
	return nil, nil, errKeySyntax
}

// decodeInt reads a number of |size| bytes, negative if size is. It gives an
// int64 or, beyond that, a uint64.
func decodeInt(size int, b []byte) (any, []byte, error) {
	n := max(size, -size)
	if len(b) < n {
		return nil, nil, errKeySyntax
	}
	var wide [8]byte
	copy(wide[8-n:], b[:n])
	v := binary.BigEndian.Uint64(wide[:])
	if size < 0 {
		v = ^v & (^uint64(0) >> (64 - 8*n)) // the magnitude
	}
	if n > 0 && v>>(8*(n-1)) == 0 || size < 0 && v > signBit {
		return nil, nil, errKeySyntax
	}
	switch {
	case size < 0:
		return -int64(v), b[n:], nil
	case v >= signBit:
		return v, b[n:], nil
	}
	return int64(v), b[n:], nil
}

func decodeTime(b []byte) (any, []byte, error) {
	if len(b) < 12 {
		return nil, nil, errKeySyntax
	}
	sec := int64(binary.BigEndian.Uint64(b) ^ signBit)
	nsec := binary.BigEndian.Uint32(b[8:])
	t := time.Unix(sec, int64(nsec)).UTC()
	if nsec >= 1e9 || t.Unix() != sec {
		return nil, nil, errKeySyntax
	}
	return t, b[12:], nil
}

func decodeAddr(b []byte) (any, []byte, error) {
	if len(b) == 0 || b[0] != 0 && b[0] != 32 && b[0] != 128 || len(b) < 1+int(b[0])/8 {
		return nil, nil, errKeySyntax
	}
	n := int(b[0]) / 8
	addr, _ := netip.AddrFromSlice(b[1 : 1+n])
	rest := b[1+n:]
	if n < 16 {
		return addr, rest, nil
	}
	zone, rest, err := decodeEscaped(rest)
	if err != nil || addr.Is4In6() && len(zone) > 0 {
		return nil, nil, errKeySyntax
	}
	return addr.WithZone(string(zone)), rest, nil
}

func decodeEscaped(b []byte) (s, rest []byte, err error) {
	for {
		i := bytes.IndexByte(b, escape)
		if i < 0 || i+1 == len(b) {
			return nil, nil, errKeySyntax
		}
		s = append(s, b[:i]...)
		mark := b[i+1]
		b = b[i+2:]
		switch mark {
		case terminator:
			return s, b, nil
		case escaped:
			s = append(s, escape)
		default:
			return nil, nil, errKeySyntax
		}
	}
}
