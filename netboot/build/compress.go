package build

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is well within what the kernel's decompressor of an initramfs takes
// (ZSTD_WINDOWSIZE_MAX in lib/decompress_unzstd.c is 128 MiB).
const zstdWindow = 8 << 20

// compress is zstd at its best ratio, single-threaded so that it is
// reproducible.
func (c Config) compress(b []byte) ([]byte, error) {
	return c.kept("zst", b, func() ([]byte, error) {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
		if err != nil {
			return nil, err
		}
		defer w.Close()
		return w.EncodeAll(b, nil), nil
	})
}

// kept returns what make makes of input, and keeps it for the next build: most
// of a build's time is compression.
func (c Config) kept(kind string, input []byte, make func() ([]byte, error)) ([]byte, error) {
	if c.Cache == "" {
		return make()
	}
	sum := sha256.Sum256(input)
	name := filepath.Join(c.Cache, hex.EncodeToString(sum[:])+"."+kind)
	if made, err := os.ReadFile(name); err == nil {
		return made, nil
	}
	made, err := make()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return nil, err
	}
	return made, replaceFile(name, made)
}
