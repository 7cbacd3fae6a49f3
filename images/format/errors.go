package format

import "errors"

// Errors that callers tell apart; each comes wrapped with what and where.
var (
	// ErrMalformed: the bytes are not a manifest, or one that contradicts itself.
	ErrMalformed = errors.New("malformed image")
	// ErrVersion: a manifest of a format version that this program does not know.
	ErrVersion = errors.New("unknown image format version")
	// ErrSignature: the signature is wrong, or by a key that is not trusted.
	ErrSignature = errors.New("image signature refused")
	// ErrDigest: a chunk's bytes are not those that the manifest describes.
	ErrDigest = errors.New("image digest mismatch")
)
