package store_test

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/storetest"
)

// ascending are values in the order that their keys must have.
func ascending() []any {
	at := time.Date(2026, 11, 21, 3, 0, 0, 5, time.UTC)
	return []any{
		false, true,
		int64(math.MinInt64), int64(math.MinInt64 + 1), math.MinInt32, -65537, -65536, -65535, -257, -256, -255, -2, -1,
		0, 1, 2, 255, 256, 257, 65535, 65536, math.MaxInt32, int64(math.MaxInt64), uint64(math.MaxInt64 + 1), uint64(math.MaxUint64),
		time.Time{}, time.Unix(-1, 999_999_999), time.Unix(0, 0), at, at.Add(1), at.Add(time.Second), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		netip.Addr{}, netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.10"),
		netip.MustParseAddr("::"), netip.MustParseAddr("::ffff:10.0.0.9"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("fe80::2"),
		[]byte{}, []byte{0}, []byte{0, 0}, []byte{0, 1}, []byte{0, 0xff}, []byte{1}, []byte("a"), []byte{0xff}, []byte{0xff, 0xff},
		"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00b", "a\x01", "aa", "ab", "b", "ä", "\xff", "\xff\xff",
	}
}

func TestKeyOrder(t *testing.T) {
	values := ascending()
	for i, a := range values {
		for j, b := range values {
			if got, want := bytes.Compare(store.K(a), store.K(b)), cmp.Compare(i, j); got != want {
				t.Errorf("K(%#v) against K(%#v): %d, want %d", a, b, got, want)
			}
		}
	}
}

// TestKeyTuples compares tuples of random elements, of random lengths.
func TestKeyTuples(t *testing.T) {
	seed := storetest.Seed()
	t.Logf("seed %d: repeat with %s=%[1]d", seed, storetest.SeedEnv)
	rng := rand.New(rand.NewPCG(seed, 0))
	values := ascending()
	draw := func() (ranks []int, k store.Key) {
		var parts []any
		for range rng.IntN(4) {
			n := rng.IntN(len(values))
			ranks, parts = append(ranks, n), append(parts, values[n])
		}
		return ranks, store.K(parts...)
	}
	for range 50_000 {
		a, ka := draw()
		b, kb := draw()
		if rng.IntN(2) == 0 { // make one begin the other
			b = append(a[:len(a):len(a)], b...)
			kb = append(ka[:len(ka):len(ka)], kb...)
		}
		if got, want := bytes.Compare(ka, kb), compareTuples(a, b); got != want {
			t.Fatalf("%v against %v: %d, want %d", ka, kb, got, want)
		}
		if got, want := bytes.HasPrefix(kb, ka), len(a) <= len(b) && compareTuples(a, b[:len(a)]) == 0; got != want {
			t.Fatalf("%v begins %v: %v, want %v", ka, kb, got, want)
		}
	}
}

func compareTuples(a, b []int) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// FuzzKeyOrder compares keys of arbitrary elements with the elements themselves.
func FuzzKeyOrder(f *testing.F) {
	f.Add("", "a", int64(0), int64(-1), uint64(7), uint64(1<<63))
	f.Add("a\x00", "a", int64(math.MinInt64), int64(math.MaxInt64), uint64(0), uint64(math.MaxUint64))
	f.Add("a\x00\xff", "a\x00\x01", int64(255), int64(256), uint64(255), uint64(256))
	f.Fuzz(func(t *testing.T, s1, s2 string, i1, i2 int64, u1, u2 uint64) {
		for _, c := range []struct {
			a, b store.Key
			want int
		}{
			{store.K(s1, i1, u1), store.K(s2, i2, u2), cmp.Or(cmp.Compare(s1, s2), cmp.Compare(i1, i2), cmp.Compare(u1, u2))},
			{store.K(i1, []byte(s1)), store.K(i2, []byte(s2)), cmp.Or(cmp.Compare(i1, i2), cmp.Compare(s1, s2))},
			{store.K(u1), store.K(i2), compareMixed(u1, i2)},
			{store.K(s1), store.K(s1 + s2), cmp.Compare(s1, s1+s2)},
			{store.K(time.Unix(i1>>4, int64(u1%1e9))), store.K(time.Unix(i2>>4, int64(u2%1e9))), cmp.Or(cmp.Compare(i1>>4, i2>>4), cmp.Compare(u1%1e9, u2%1e9))},
		} {
			if got := bytes.Compare(c.a, c.b); got != c.want {
				t.Errorf("%v against %v: %d, want %d", c.a, c.b, got, c.want)
			}
		}
		parts, err := store.DecodeKey(store.K(s1, i1, []byte(s2)))
		if diff := gocmp.Diff([]any{s1, i1, []byte(s2)}, parts, gocmp.Transformer("bytes", func(b []byte) string { return string(b) })); err != nil || diff != "" {
			t.Errorf("decoded key differs, error %v (-want +got):\n%s", err, diff)
		}
	})
}

func compareMixed(u uint64, i int64) int {
	if i < 0 {
		return 1
	}
	return cmp.Compare(u, uint64(i))
}

// FuzzKeyString: any bytes can be shown, and what decodes is spelled one way.
func FuzzKeyString(f *testing.F) {
	for _, v := range ascending() {
		f.Add([]byte(store.K(v)))
	}
	f.Add([]byte{0x11, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if store.Key(b).String() == "" {
			t.Error("the key shows as nothing")
		}
		parts, err := store.DecodeKey(b)
		if err != nil {
			return
		}
		if again := store.K(parts...); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %#v, which encodes to %x", b, parts, []byte(again))
		}
	})
}

func TestKeyString(t *testing.T) {
	type id string
	type mac []byte
	for _, c := range []struct {
		key  store.Key
		want string
	}{
		{store.K(), "()"},
		{store.K("web", 3, true), `("web", 3, true)`},
		{store.K(id("m1"), uint8(7), int16(-9)), `("m1", 7, -9)`},
		{store.K(mac{2, 0, 1}, [2]byte{1, 2}), `(0x020001, 0x0102)`},
		{store.K(netip.MustParseAddr("fe80::1%eth0"), time.Unix(0, 1).In(time.FixedZone("x", 3600))), `(fe80::1%eth0, 1970-01-01T00:00:00.000000001Z)`},
		{store.Key("web"), "0x776562"},
		{store.K("a").With("b"), `("a", "b")`},
	} {
		if got := c.key.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestKeyWithDoesNotShare(t *testing.T) {
	base := store.K("base")
	a, b := base.With("a"), base.With("b")
	if a.String() != `("base", "a")` || b.String() != `("base", "b")` {
		t.Errorf("two keys made from one: %v and %v", a, b)
	}
}

func TestKeyPanics(t *testing.T) {
	for _, part := range []any{1.5, nil, struct{}{}, []string{"a"}, store.K("a")} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.HasPrefix(r, "store: ") {
					t.Errorf("K(%#v): panic %q, want the store's", part, r)
				}
			}()
			store.K(part)
		}()
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"a", "b"}, {"a\xff", "b"}, {"a\xfe\xff", "a\xff"}, {"\xff", ""}, {"", ""}, {"\xff\xff", ""},
	} {
		if got := store.PrefixEnd([]byte(c.prefix)); string(got) != c.want {
			t.Errorf("end of %q: got %q, want %q", c.prefix, got, c.want)
		}
	}
}

// FuzzRow: what is read of a stored row is what was written.
func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 1, 0, '{', '}'})
	f.Add([]byte{1, 3, 2, 1, 'a', 2, 'b', 'c', '{', '}'})
	f.Add([]byte{2, 1, 0})
	f.Add([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := store.RewriteRow(b)
		if err != nil {
			return
		}
		twice, err := store.RewriteRow(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x is written as %x, and that as %x, error %v", b, once, twice, err)
		}
	})
}
