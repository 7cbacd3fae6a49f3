package pebblekv_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// The benchmarks write to a directory of the real file system, under TMPDIR. One
// operation is one acknowledged commit; ns/op falls as writers share syncs.

func benchmarkEngine(b *testing.B) *pebblekv.Engine {
	b.Helper()
	e, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

// share splits b.N commits among writers and reports commits per second.
func share(b *testing.B, writers int, commit func(w int, n int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := commit(w, n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

type lease struct {
	MAC   string `json:"mac"`
	Addr  string `json:"addr"`
	Until int64  `json:"until"`
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			table := store.NewTable("leases", 1, func(v *lease) store.Key { return store.K(v.MAC) })
			store.NewIndex(table, "addr", func(v *lease) []store.Key { return []store.Key{store.K(v.Addr)} }, true)
			db := openDB(b, benchmarkEngine(b), table)
			ctx := context.Background()
			share(b, writers, func(w int, n int64) error {
				v := lease{MAC: fmt.Sprintf("02:00:%06x", n%100_000), Addr: fmt.Sprintf("10.%06x", n%100_000), Until: n}
				return db.Update(ctx, func(tx *store.Tx) error { return table.Put(tx, v) })
			})
		})
	}
}

func BenchmarkRawCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 512} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("writers=%d/batch=%d", writers, batch), func(b *testing.B) {
				db := openDB(b, benchmarkEngine(b))
				raw, err := db.Raw("leases")
				if err != nil {
					b.Fatal(err)
				}
				ctx := context.Background()
				share(b, writers, func(w int, n int64) error {
					ops := make([]store.RawOp, batch)
					buf := make([]byte, batch*56)
					for i := range ops {
						row := buf[i*56 : (i+1)*56]
						binary.BigEndian.PutUint64(row, uint64(n*int64(batch)+int64(i))%1_000_000)
						ops[i] = store.RawOp{Key: row[:8], Value: row[8:]}
					}
					return raw.Commit(ctx, ops)
				})
			})
		}
	}
}

// BenchmarkGet reads one row of 100,000 in a View of its own.
func BenchmarkGet(b *testing.B) {
	table := store.NewTable("leases", 1, func(v *lease) store.Key { return store.K(v.MAC) })
	db := openDB(b, benchmarkEngine(b), table)
	ctx := context.Background()
	err := db.Update(ctx, func(tx *store.Tx) error {
		for n := range 100_000 {
			if err := table.Put(tx, lease{MAC: fmt.Sprintf("02:00:%06x", n)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		k := store.K(fmt.Sprintf("02:00:%06x", n*7919%100_000))
		err := db.View(ctx, func(tx *store.Tx) error {
			_, err := table.Get(tx, k)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRawScan reads back a million rows, as a server does when it starts.
func BenchmarkRawScan(b *testing.B) {
	const rows = 1_000_000
	db := openDB(b, benchmarkEngine(b))
	raw, err := db.Raw("leases")
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	ops := make([]store.RawOp, 10_000)
	for first := 0; first < rows; first += len(ops) {
		for i := range ops {
			ops[i] = store.RawOp{Key: binary.BigEndian.AppendUint64(nil, uint64(first+i)), Value: make([]byte, 48)}
		}
		if err := raw.Commit(ctx, ops); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		if err := raw.Scan(ctx, nil, nil, func(k, v []byte) error { n++; return nil }); err != nil || n != rows {
			b.Fatalf("scan gave %d rows and %v", n, err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func openDB(tb testing.TB, e store.Engine, tables ...store.Schema) *store.DB {
	tb.Helper()
	db, err := store.Open(context.Background(), e, testLog(tb), tables...)
	if err != nil {
		tb.Fatal(err)
	}
	return db
}
