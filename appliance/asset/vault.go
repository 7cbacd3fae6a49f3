package asset

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"
)

// Vault seals secrets that go into the store, under a key from outside it
// (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03). A copy of the store alone
// opens nothing.
type Vault struct {
	key [chacha20poly1305.KeySize]byte
}

// OpenVault reads the key from a file, which it makes, with mode 0600, if there
// is none. A key file that others can read is refused.
func OpenVault(path string) (*Vault, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b, err = newKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("secrets key: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("secrets key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secrets key %s: mode is %v, others can read it; chmod 600 it", path, st.Mode().Perm())
	}
	var v Vault
	if len(b) != len(v.key) {
		return nil, fmt.Errorf("secrets key %s: %d bytes, want %d", path, len(b), len(v.key))
	}
	copy(v.key[:], b)
	return &v, nil
}

func newKey(path string) ([]byte, error) {
	b := make([]byte, chacha20poly1305.KeySize)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	return b, errors.Join(err, f.Close())
}

// Seal encrypts a secret for the record called name; it opens only under it.
func (v *Vault) Seal(plain []byte, name string) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(v.key[:])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, plain, []byte(name)), nil
}

// Open decrypts what Seal made for the record called name.
func (v *Vault) Open(sealed []byte, name string) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(v.key[:])
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("secret of %s: %d bytes is too short", name, len(sealed))
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(name))
	if err != nil {
		return nil, fmt.Errorf("secret of %s does not open with this appliance's key: %w", name, err)
	}
	return plain, nil
}
