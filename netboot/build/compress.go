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
// reproducible. It takes most of a build's time, so results are kept.
func (c Config) compress(b []byte) ([]byte, error) {
	sum := sha256.Sum256(b)
	kept := filepath.Join(c.Cache, hex.EncodeToString(sum[:])+".zst")
	if c.Cache != "" {
		if z, err := os.ReadFile(kept); err == nil {
			return z, nil
		}
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	z := w.EncodeAll(b, nil)
	if c.Cache == "" {
		return z, nil
	}
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return nil, err
	}
	return z, replaceFile(kept, z)
}
