package dhcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/store"
)

// recordVersion begins each stored record. It only goes up.
const recordVersion = 1

const (
	keySize   = 4
	valueSize = 1 + 1 + 6 + 8
)

// StoreJournal keeps records in a raw space of the store: the key is the
// address, so that a space never has more than one record for each.
type StoreJournal struct {
	raw store.Raw
	ops []store.RawOp
	buf []byte
}

// NewStoreJournal returns the journal in a raw space, which is this server's
// alone.
func NewStoreJournal(raw store.Raw) *StoreJournal { return &StoreJournal{raw: raw} }

// Commit implements Journal.
func (j *StoreJournal) Commit(ctx context.Context, records []Record) error {
	const size = keySize + valueSize
	if need := len(records) * size; cap(j.buf) < need {
		j.buf = make([]byte, need)
	}
	j.ops = j.ops[:0]
	for i, r := range records {
		b := j.buf[i*size : (i+1)*size : (i+1)*size]
		encodeRecord(b, r)
		j.ops = append(j.ops, store.RawOp{Key: b[:keySize], Value: b[keySize:]})
	}
	return j.raw.Commit(ctx, j.ops)
}

// Load implements Journal.
func (j *StoreJournal) Load(ctx context.Context, fn func(Record) error) error {
	return j.raw.Scan(ctx, nil, nil, func(k, v []byte) error {
		r, err := decodeRecord(k, v)
		if err != nil {
			return err
		}
		return fn(r)
	})
}

// encodeRecord writes key and value one after the other.
func encodeRecord(b []byte, r Record) {
	addr := r.Addr.As4()
	copy(b, addr[:])
	b[4], b[5] = recordVersion, byte(r.State)
	copy(b[6:12], r.MAC[:])
	binary.BigEndian.PutUint64(b[12:], uint64(r.Expiry.Unix()))
}

func decodeRecord(k, v []byte) (Record, error) {
	if len(k) != keySize || len(v) < 1 {
		return Record{}, fmt.Errorf("dhcp: lease record %x: not an IPv4 address", k)
	}
	addr := netip.AddrFrom4([4]byte(k))
	if v[0] != recordVersion {
		return Record{}, fmt.Errorf("dhcp: lease record of %v: version %d, this program knows %d", addr, v[0], recordVersion)
	}
	if len(v) != valueSize || v[1] < byte(Bound) || v[1] > byte(Declined) {
		return Record{}, fmt.Errorf("dhcp: lease record of %v: damaged: %x", addr, v)
	}
	return Record{Addr: addr, State: State(v[1]), MAC: MAC(v[2:8]), Expiry: time.Unix(int64(binary.BigEndian.Uint64(v[8:])), 0)}, nil
}
