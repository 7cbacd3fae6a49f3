package snmp

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

const (
	// maxRows bounds a table; the largest PDU controllers have some hundreds.
	maxRows = 4096
	// repetitions is how many rows a GetBulk asks for; an agent answers with
	// what fits.
	repetitions = 24
)

// table is rows by index, each its columns' values by the column's identifier.
type table map[string]map[string]gosnmp.SnmpPDU

// walk reads columns of a table side by side: by GetBulk in v2c and v3, by
// GetNext in v1. Columns that the device does not have are missing.
func (s *session) walk(ctx context.Context, columns []string) (table, error) {
	rows := table{}
	at := map[string]string{} // the last identifier seen of each column still walked
	for _, c := range columns {
		at[c] = c
	}
	for len(at) > 0 {
		open := make([]string, 0, len(at))
		for _, c := range columns {
			if at[c] != "" {
				open = append(open, c)
			}
		}
		answer, err := s.step(ctx, open, at)
		if err != nil {
			return nil, err
		}
		if bad := int(answer.ErrorIndex) - 1; answer.Error == gosnmp.NoSuchName && bad >= 0 && bad < len(open) {
			delete(at, open[bad]) // version 1's end of the MIB
			continue
		}
		if answer.Error != gosnmp.NoError {
			return nil, s.refusal("be walked", answer.Error)
		}
		if err := s.collect(rows, open, at, answer.Variables); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// step asks for what follows in each open column.
func (s *session) step(ctx context.Context, open []string, at map[string]string) (*gosnmp.SnmpPacket, error) {
	oids := make([]string, len(open))
	for i, c := range open {
		oids[i] = at[c]
	}
	return s.exchange(ctx, func(g *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) {
		if g.Version == gosnmp.Version1 {
			return g.GetNext(oids)
		}
		return g.GetBulk(oids, 0, repetitions)
	})
}

// collect sorts what was answered, row after row of the open columns, into
// rows. A column that has ended leaves at.
func (s *session) collect(rows table, open []string, at map[string]string, answered []gosnmp.SnmpPDU) error {
	if len(answered) < len(open) {
		return device.Errorf(device.Ambiguous, "PDU %s: asked for %d columns, answered %d", s.name, len(open), len(answered))
	}
	for i, v := range answered {
		column := open[i%len(open)]
		last, walking := at[column]
		if !walking {
			continue
		}
		oid := strings.TrimPrefix(v.Name, ".")
		if !under(column, oid) || !exists(v) {
			delete(at, column)
			continue
		}
		if !after(last, oid) {
			return device.Errorf(device.Ambiguous, "PDU %s: its tables run in a circle at %s", s.name, oid)
		}
		index := oid[len(column)+1:]
		if rows[index] == nil {
			rows[index] = map[string]gosnmp.SnmpPDU{}
		}
		rows[index][column] = v
		at[column] = oid
		if len(rows) > maxRows {
			return device.Errorf(device.Limit, "PDU %s: more than %d outlets", s.name, maxRows)
		}
	}
	return nil
}

// after says whether b comes after a in the order of identifiers.
func after(a, b string) bool { return compareOID(a, b) < 0 }

func compareOID(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		n, errX := strconv.ParseUint(x, 10, 32)
		m, errY := strconv.ParseUint(y, 10, 32)
		if errX != nil || errY != nil {
			return strings.Compare(x, y)
		}
		switch {
		case n < m:
			return -1
		case n > m:
			return 1
		}
		return 0
	})
}
