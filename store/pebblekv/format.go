package pebblekv

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/gantry-pod/gantry/store"
)

// formatMarker is the name of the marker file in which Pebble records the
// version of its files, as a decimal number.
const formatMarker = "format-version"

// foundFormat gives the version of the files in dir, 0 if there is no store. It
// reads the marker itself, because Pebble's own refusal cannot be told from a
// damaged store and does not say which version this program knows.
func foundFormat(dir string, files vfs.FS) (pebble.FormatMajorVersion, error) {
	value, err := atomicfs.ReadMarker(files, dir, formatMarker)
	if errors.Is(err, fs.ErrNotExist) || err == nil && value == "" {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of its files: %w", err)
	}
	found, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the version of its files: %w", err)
	case found > uint64(Format):
		return 0, fmt.Errorf("its files are of version %d, this program knows up to %d: %w", found, Format, store.ErrNewer)
	case found < uint64(pebble.FormatMinSupported):
		return 0, fmt.Errorf("its files are of version %d, this program knows none below %d: %w", found, pebble.FormatMinSupported, store.ErrOlder)
	}
	return pebble.FormatMajorVersion(found), nil
}
