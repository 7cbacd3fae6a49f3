package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gantry-pod/gantry/store"
)

func testOrder(t *testing.T, h *harness) {
	h.set("b", "2", "a\xff", "1", "a", "0", "\x00", "z", "ab", "x", "\xff\xff", "y", "a\x00", "w")
	h.wantKeys(nil, nil, false, "\x00", "a", "a\x00", "ab", "a\xff", "b", "\xff\xff")
	h.wantKeys(nil, nil, true, "\xff\xff", "b", "a\xff", "ab", "a\x00", "a", "\x00")
}

func testBounds(t *testing.T, h *harness) {
	h.set("a", "", "b", "", "c", "", "d", "")
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{"b", "d", []string{"b", "c"}},
		{"b", "", []string{"b", "c", "d"}},
		{"", "c", []string{"a", "b"}},
		{"aa", "bb", []string{"b"}},
		{"b", "b", nil},
		{"c", "b", nil},
		{"e", "", nil},
		{"", "a", nil},
	} {
		from, to := []byte(c.from), []byte(c.to)
		if c.to == "" {
			to = nil
		}
		h.wantKeys(from, to, false, c.want...)
		slices.Reverse(c.want)
		h.wantKeys(from, to, true, c.want...)
	}
}

// testPrefixOfFF is about keys whose bytes leave no room for a successor.
func testPrefixOfFF(t *testing.T, h *harness) {
	h.set("\xfe", "", "\xff", "", "\xff\x00", "", "\xff\xff", "", "\xff\xff\xff", "")
	h.wantKeys([]byte("\xff"), nil, false, "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff")
	h.wantKeys([]byte("\xff"), nil, true, "\xff\xff\xff", "\xff\xff", "\xff\x00", "\xff")
	h.wantKeys([]byte("\xff"), []byte("\xff\xff"), false, "\xff", "\xff\x00")
	h.wantKeys(nil, []byte("\xff"), true, "\xfe")
}

// testModel compares an engine with a sorted map under random transactions.
func testModel(t *testing.T, h *harness) {
	rng := random(t)
	committed := map[string]string{}
	for range 200 {
		var model map[string]string
		abort := rng.IntN(4) == 0
		seed := rng.Uint64()
		err := h.Update(h.ctx, func(kv store.Txn) error {
			// The function may run again, so each run draws the same numbers.
			run := rand.New(rand.NewPCG(seed, 1))
			model = cloneMap(committed)
			for range run.IntN(12) {
				if err := modelStep(t, kv, model, run); err != nil {
					return err
				}
			}
			if abort {
				return errAbort
			}
			return nil
		})
		switch {
		case abort && !errors.Is(err, errAbort):
			t.Fatalf("aborted update: got %v, want %v", err, errAbort)
		case !abort && err != nil:
			t.Fatal(err)
		case !abort:
			committed = model
		}
		h.view(func(kv store.Txn) error { return compareAll(t, kv, committed, rng) })
	}
	h.reopen()
	h.view(func(kv store.Txn) error { return compareAll(t, kv, committed, rng) })
}

var errAbort = errors.New("abort")

func cloneMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// modelStep does one random thing to kv and model, and compares what they say.
func modelStep(t *testing.T, kv store.Txn, model map[string]string, rng *rand.Rand) error {
	key := randomKey(rng)
	switch rng.IntN(4) {
	case 0:
		value := randomKey(rng)
		model[key] = value
		return kv.Set([]byte(key), []byte(value))
	case 1:
		delete(model, key)
		return kv.Delete([]byte(key))
	case 2:
		got, err := get(kv, key)
		want, ok := model[key]
		if !ok {
			want = "-"
		}
		if got != want {
			t.Errorf("get %q in the transaction: got %q, want %q", key, got, want)
		}
		return err
	}
	return compareAll(t, kv, model, rng)
}

// randomKey makes keys that are often equal, prefixes of one another, or at the
// ends of the byte's range.
func randomKey(rng *rand.Rand) string {
	b := make([]byte, 1+rng.IntN(3))
	for i := range b {
		b[i] = []byte{0x00, 0x01, 'a', 'b', 0xfe, 0xff}[rng.IntN(6)]
	}
	return string(b)
}

// compareAll compares a random range, either way, with the model's.
func compareAll(t *testing.T, kv store.Txn, model map[string]string, rng *rand.Rand) error {
	var from, to []byte
	if rng.IntN(2) == 0 {
		from = []byte(randomKey(rng))
	}
	if rng.IntN(2) == 0 {
		to = []byte(randomKey(rng))
	}
	reverse := rng.IntN(2) == 0
	var want []string
	for k := range model {
		if k >= string(from) && (to == nil || k < string(to)) {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	if reverse {
		slices.Reverse(want)
	}
	var got []string
	err := kv.Scan(from, to, reverse, func(k, v []byte) bool {
		got = append(got, string(k))
		if model[string(k)] != string(v) {
			t.Errorf("scan: %q has %q, want %q", k, v, model[string(k)])
		}
		return true
	})
	if !slices.Equal(got, want) {
		t.Errorf("scan of [%q, %q) reverse=%v: got %q, want %q", from, to, reverse, got, want)
	}
	return err
}

func testBigValues(t *testing.T, h *harness) {
	rng := random(t)
	digest := map[string][32]byte{}
	for _, size := range []int{0, 1, 4 << 10, 1 << 20, 16 << 20} {
		value := make([]byte, size)
		for i := 0; i+8 <= size; i += 8 {
			binary.LittleEndian.PutUint64(value[i:], rng.Uint64())
		}
		key := name(size)
		digest[key] = sha256.Sum256(value)
		h.update(func(kv store.Txn) error { return kv.Set([]byte(key), value) })
	}
	check := func() {
		h.view(func(kv store.Txn) error {
			return kv.Scan(nil, nil, false, func(k, v []byte) bool {
				if sha256.Sum256(v) != digest[string(k)] {
					t.Errorf("value of key %s, %d bytes, is altered", k, len(v))
				}
				return true
			})
		})
	}
	check()
	h.reopen()
	check()
}

// testValuesAreCopied changes what was given to, and got from, a transaction.
func testValuesAreCopied(t *testing.T, h *harness) {
	h.update(func(kv store.Txn) error {
		key, value := []byte("key"), []byte("value")
		if err := kv.Set(key, value); err != nil {
			return err
		}
		copy(key, "xxx")
		copy(value, "xxxxx")
		got, err := kv.Get([]byte("key"))
		copy(got, "yyyyy")
		return err
	})
	var kept []byte
	h.view(func(kv store.Txn) (err error) {
		kept, err = kv.Get([]byte("key"))
		return err
	})
	if !bytes.Equal(kept, []byte("value")) {
		t.Errorf("got %q, want the value as it was set", kept)
	}
	h.wantKeys(nil, nil, false, "key")
}

// testScanDuringWrites writes around a scan's position: it must not notice.
func testScanDuringWrites(t *testing.T, h *harness) {
	h.set("a", "1", "b", "1", "c", "1", "d", "1")
	for _, reverse := range []bool{false, true} {
		var got []string
		h.update(func(kv store.Txn) error {
			got = nil
			var failed error
			err := kv.Scan(nil, nil, reverse, func(k, v []byte) bool {
				got = append(got, string(k)+string(v))
				failed = errors.Join(
					kv.Set([]byte(string(k)+"+"), []byte("2")),
					kv.Set([]byte("c"), []byte("2")),
					kv.Delete([]byte("b")), kv.Delete([]byte("d")))
				return failed == nil
			})
			if err = errors.Join(err, failed); err != nil {
				return err
			}
			after, err := keys(kv, nil, nil, false)
			if want := []string{"a", "a+", "b+", "c", "c+", "d+"}; !slices.Equal(after, want) {
				t.Errorf("a scan after the writes: got %q, want %q", after, want)
			}
			return errors.Join(err, restore(kv))
		})
		want := []string{"a1", "b1", "c1", "d1"}
		if reverse {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("reverse=%v: got %q, want the rows as they were, %q", reverse, got, want)
		}
	}
}

// restore puts the four rows back, for the next round.
func restore(kv store.Txn) error {
	for _, k := range []string{"a", "b", "c", "d"} {
		if err := errors.Join(kv.Set([]byte(k), []byte("1")), kv.Delete([]byte(k+"+"))); err != nil {
			return err
		}
	}
	return nil
}

func testScanStops(t *testing.T, h *harness) {
	h.set("a", "", "b", "", "c", "")
	h.view(func(kv store.Txn) error {
		calls := 0
		err := kv.Scan(nil, nil, false, func(_, _ []byte) bool { calls++; return calls < 2 })
		if calls != 2 {
			t.Errorf("fn was called %d times, want 2", calls)
		}
		return err
	})
}
