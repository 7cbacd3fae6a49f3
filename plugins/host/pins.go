package host

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// pinFile lists what may be run, in the format of sha256sum.
const pinFile = "SHA256SUMS"

// errNotPinned is wrapped by why a binary is refused.
var errNotPinned = errors.New("checksum refused")

// pins are the digests of the drivers that may be run, by file name. Nil
// means that no list was given.
type pins map[string][]byte

// readPins reads the list in dir, nil if there is none.
func readPins(dir string) (pins, error) {
	raw, err := os.ReadFile(filepath.Join(dir, pinFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the drivers' checksums: %w", err)
	}
	p, err := parsePins(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, pinFile), err)
	}
	return p, nil
}

// parsePins reads lines of a hexadecimal SHA-256, blanks, an optional '*' and
// a file name.
func parsePins(raw []byte) (pins, error) {
	p := pins{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		digest, name, ok := strings.Cut(lines.Text(), " ")
		name = strings.TrimPrefix(strings.TrimLeft(name, " "), "*")
		sum, err := hex.DecodeString(digest)
		if !ok || err != nil || len(sum) != sha256.Size || name == "" {
			return nil, fmt.Errorf("line %d: not a SHA-256 and a file name", n)
		}
		p[strings.TrimPrefix(name, "./")] = sum
	}
	return p, lines.Err()
}

// openPinned opens a binary and checks that its content is what want says. The
// open file is what must be executed: the path may be replaced meanwhile. With
// want nil the digest found is returned to be pinned.
func openPinned(path string, want []byte) (*os.File, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	sum := hash.Sum(nil)
	if want != nil && subtle.ConstantTimeCompare(sum, want) != 1 {
		err := fmt.Errorf("%w: %s is sha256:%x, pinned is sha256:%x", errNotPinned, path, sum, want)
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, sum, nil
}
