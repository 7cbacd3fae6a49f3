package pebblekv_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// BenchmarkPebbleAlone is what BenchmarkRawCommit is measured against: Pebble by
// itself, each batch committed with a sync of its own, which Pebble groups.
func BenchmarkPebbleAlone(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d/batch=1", writers), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 32 << 20, Logger: silent{}})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { db.Close() })
			share(b, writers, func(w int, n int64) error {
				var row [56]byte
				binary.BigEndian.PutUint64(row[:], uint64(n)%1_000_000)
				return db.Set(row[:8], row[8:], pebble.Sync)
			})
		})
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}
