package asset

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openVault(t *testing.T, path string) *Vault {
	t.Helper()
	v, err := OpenVault(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVault: what is sealed opens again after a restart, under its own name and
// its own key, and in no other way.
func TestVault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "secrets.key")
	v := openVault(t, path)
	secret := []byte(`{"community":"s3cret"}`)
	sealed, err := v.Seal(secret, "pdu/p1")
	if err != nil || bytes.Contains(sealed, []byte("s3cret")) {
		t.Fatalf("sealed as %q, %v", sealed, err)
	}
	again, err := v.Seal(secret, "pdu/p1")
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same secret is sealed the same way twice")
	}
	v = openVault(t, path)
	if got, err := v.Open(sealed, "pdu/p1"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("opened as %q, %v", got, err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		vault  *Vault
		sealed []byte
		under  string
	}{
		"another record's name": {v, sealed, "pdu/p2"},
		"another key":           {openVault(t, filepath.Join(t.TempDir(), "other")), sealed, "pdu/p1"},
		"altered":               {v, altered, "pdu/p1"},
		"cut short":             {v, sealed[:30], "pdu/p1"},
		"nothing":               {v, nil, "pdu/p1"},
	} {
		if got, err := c.vault.Open(c.sealed, c.under); err == nil || !strings.Contains(err.Error(), c.under) {
			t.Errorf("%s: opened as %q, %v", name, got, err)
		}
	}
}

func TestVaultKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	openVault(t, path)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || st.Size() != 32 {
		t.Errorf("the key that it made: %v, %d bytes, %v", st.Mode(), st.Size(), err)
	}
	for name, c := range map[string]struct {
		size int
		mode os.FileMode
		want string
	}{
		"readable by others":    {32, 0o644, "chmod 600"},
		"readable by the group": {32, 0o640, "chmod 600"},
		"too short":             {31, 0o600, "31 bytes"},
		"empty":                 {0, 0o600, "0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, make([]byte, c.size), c.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenVault(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := OpenVault(dir); err == nil {
		t.Error("a folder was taken as the key")
	}
}

// TestSwappedSecrets: two PDUs' records exchanged in the store open neither.
func TestSwappedSecrets(t *testing.T) {
	b := newBench(t)
	b.mustLoad("pdus: [{name: p1, driver: d, address: a, config: {community: one}}, {name: p2, driver: d, address: a, config: {community: two}}]")
	if err := b.swapConfigs("p1", "p2"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"p1", "p2"} {
		if p, err := b.PDU(t.Context(), id); err == nil || !strings.Contains(err.Error(), "does not open") {
			t.Errorf("%s opened as %q, %v", id, string(p.Config), err)
		}
	}
}
