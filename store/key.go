package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"reflect"
	"time"
)

// Key is a tuple of values, encoded so that keys order as their tuples do:
// element by element, and a shorter tuple before those that it begins. No
// element's encoding begins another's, so a Key is a byte prefix of another
// exactly when its tuple is a prefix of the other's tuple.
//
// Within one position values order by type, then by value: bool (false first),
// all integers on one line whatever their Go type, times as instants, addresses
// as [netip.Addr.Compare] has it, byte strings and strings bytewise. The
// encoding is stored: it can be added to but never changed.
type Key []byte

// The tags of the elements, in the order in which types sort. Everything from
// tagInt-8 to tagInt+8 is an integer: the distance from tagInt is the number of
// its bytes, below for negative ones. 0x00, 0x01 and 0xff begin no element:
// the first is the separator in an index entry.
const (
	tagFalse  = 0x05
	tagTrue   = 0x06
	tagInt    = 0x18
	tagTime   = 0x28
	tagAddr   = 0x30
	tagBytes  = 0x38
	tagString = 0x40
)

// A byte string ends with escape, terminator; a zero byte in it is written as
// escape, escaped.
const (
	escape     = 0x00
	terminator = 0x01
	escaped    = 0xff
)

// K encodes parts as one Key. A part is a string, []byte, bool, integer of any
// size, [time.Time], [netip.Addr], a type made from one of the basic ones, or an
// array of bytes (a ULID, say). Another type is a mistake in the program and
// panics. To lengthen a Key use [Key.With].
func K(parts ...any) Key {
	return make(Key, 0, 16*len(parts)).With(parts...)
}

// With returns k lengthened by parts, encoded as [K] does. It does not change k.
func (k Key) With(parts ...any) Key {
	k = k[:len(k):len(k)]
	for _, p := range parts {
		k = appendPart(k, p)
	}
	return k
}

func appendPart(k Key, part any) Key {
	switch v := part.(type) {
	case string:
		return appendEscaped(append(k, tagString), v)
	case []byte:
		return appendEscaped(append(k, tagBytes), v)
	case bool:
		return appendBool(k, v)
	case int:
		return appendInt(k, int64(v))
	case int64:
		return appendInt(k, v)
	case uint64:
		return appendUint(k, v)
	case time.Time:
		return appendTime(k, v)
	case netip.Addr:
		return appendAddr(k, v)
	case Key:
		panic("store: K of a Key: use Key.With to lengthen a key")
	}
	return appendReflected(k, reflect.ValueOf(part))
}

// appendReflected encodes types that are made from a basic type.
func appendReflected(k Key, v reflect.Value) Key {
	switch {
	case v.Kind() == reflect.String:
		return appendEscaped(append(k, tagString), v.String())
	case v.Kind() == reflect.Bool:
		return appendBool(k, v.Bool())
	case v.CanInt():
		return appendInt(k, v.Int())
	case v.CanUint():
		return appendUint(k, v.Uint())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return appendEscaped(append(k, tagBytes), v.Bytes())
	case v.Kind() == reflect.Array && v.Type().Elem().Kind() == reflect.Uint8:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return appendEscaped(append(k, tagBytes), b)
	}
	panic(fmt.Sprintf("store: a key cannot hold a %v", v))
}

func appendBool(k Key, v bool) Key {
	if v {
		return append(k, tagTrue)
	}
	return append(k, tagFalse)
}

func appendUint(k Key, v uint64) Key {
	n := (bits.Len64(v) + 7) / 8
	return appendLow(append(k, byte(tagInt+n)), v, n)
}

// appendInt writes a negative number as the complement of its magnitude, so
// that the greater magnitude has the smaller bytes.
func appendInt(k Key, v int64) Key {
	if v >= 0 {
		return appendUint(k, uint64(v))
	}
	magnitude := -uint64(v)
	n := (bits.Len64(magnitude) + 7) / 8
	return appendLow(append(k, byte(tagInt-n)), ^magnitude, n)
}

// appendLow appends the low n bytes of v, the most significant first.
func appendLow(k Key, v uint64, n int) Key {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return append(k, b[8-n:]...)
}

// signBit makes two's complement numbers order as unsigned ones.
const signBit = 1 << 63

func appendTime(k Key, t time.Time) Key {
	k = append(k, tagTime)
	k = binary.BigEndian.AppendUint64(k, uint64(t.Unix())^signBit)
	return binary.BigEndian.AppendUint32(k, uint32(t.Nanosecond()))
}

// appendAddr writes the address's length in bits first: Compare does so too.
func appendAddr(k Key, a netip.Addr) Key {
	k = append(k, tagAddr, byte(a.BitLen()))
	k = append(k, a.AsSlice()...)
	if a.Is6() {
		k = appendEscaped(k, a.Zone())
	}
	return k
}

func appendEscaped[S string | []byte](k Key, s S) Key {
	for i := range len(s) {
		if s[i] == escape {
			k = append(k, escape, escaped)
		} else {
			k = append(k, s[i])
		}
	}
	return append(k, escape, terminator)
}
