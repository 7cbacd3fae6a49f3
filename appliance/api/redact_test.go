package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	spec := `{"image":"a:1","user_data":"#cloud-config token: s3cret","users":[{"name":"u","password_hash":"$6$s3cret"},{"name":"v"}],"ssh_keys":["ssh-ed25519 AAAA"]}`
	got := string(redact(json.RawMessage(spec)))
	if strings.Contains(got, "s3cret") {
		t.Errorf("a secret is shown: %s", got)
	}
	for _, want := range []string{`"image":"a:1"`, `"(hidden, 27 bytes)"`, `"password_hash":"(hidden)"`, `"name":"v"`, "ssh-ed25519 AAAA"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s does not have %s", got, want)
		}
	}
	if got := redact(json.RawMessage(`["s3cret"]`)); got != nil {
		t.Errorf("what cannot be read is shown: %s", got)
	}
}
