package store

import (
	"context"
	"log/slog"
)

// Format is a format with its steps, so that tests can have several.
type Format = format

// NewFormat describes a format to test upgrades with.
func NewFormat(version int, steps map[int]func(context.Context, Engine) error) Format {
	return Format{version: version, steps: steps}
}

// OpenFormat is Open in a program of another format.
func OpenFormat(ctx context.Context, e Engine, log *slog.Logger, f Format, tables ...Schema) (*DB, error) {
	return open(ctx, e, log, f, tables)
}

// UpgradeFormat is Upgrade in a program of another format.
func UpgradeFormat(ctx context.Context, e Engine, log *slog.Logger, f Format) error {
	return f.upgrade(ctx, e, log)
}

// DecodeKey takes a key apart.
func DecodeKey(k Key) (parts []any, err error) {
	for rest := []byte(k); len(rest) > 0; {
		var part any
		if part, rest, err = decodePart(rest); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// RewriteRow parses a stored row and writes it again.
func RewriteRow(b []byte) ([]byte, error) {
	r, err := parseRow(b)
	if err != nil {
		return nil, err
	}
	es := make([]entry, len(r.entries))
	for i, key := range r.entries {
		es[i].key = key
	}
	return appendRow(nil, r.version, es, r.body), nil
}

// PrefixEnd is the end of a prefix's keys.
func PrefixEnd(p []byte) []byte { return prefixEnd(p) }
