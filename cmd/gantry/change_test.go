package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/deploy"
)

func TestCompleteSpec(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private := file("id", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n")
	keys := file("keys", "# mine\nssh-ed25519 AAAA a\n\r\n  ssh-rsa BBBB b\r\n")
	seed := file("seed", "#cloud-config\n")
	layout := file("layout", "partitions: [{name: root, size: 0, use: root, fs: ext4, mount: /}]")
	typo := file("typo", "partitions:\n  - nam: root\n")

	if err := completeSpec(&deploy.Spec{}, nil, "", ""); err == nil || !strings.Contains(err.Error(), "--ssh-key") {
		t.Errorf("without any key: %v", err)
	}
	var spec deploy.Spec
	if err := completeSpec(&spec, []string{keys, "ssh-ed25519 CCCC c"}, seed, layout); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ssh-ed25519 AAAA a", "ssh-rsa BBBB b", "ssh-ed25519 CCCC c"}, spec.SSHKeys); d != "" || spec.UserData != "#cloud-config\n" ||
		spec.Layout == nil || spec.Layout.Partitions[0].Mount != "/" {
		t.Errorf("%+v %s", spec, d)
	}
	for name, err := range map[string]error{
		"private key":   completeSpec(&spec, []string{private}, "", ""),
		"no such file":  completeSpec(&spec, []string{filepath.Join(dir, "none")}, "", ""),
		"no user data":  completeSpec(&spec, []string{keys}, filepath.Join(dir, "none"), ""),
		"layout's typo": completeSpec(&spec, []string{keys}, "", typo),
	} {
		want := map[string]string{"private key": "give the public one", "no such file": "none", "no user data": "none", "layout's typo": `"nam"`}[name]
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "b3Bl") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	file(".ssh/id_ed25519.pub", "ssh-ed25519 DDDD d\n")
	spec = deploy.Spec{}
	if err := completeSpec(&spec, nil, "", ""); err != nil || len(spec.SSHKeys) != 1 || !strings.Contains(spec.SSHKeys[0], "DDDD") {
		t.Errorf("the default key: %v, %v", spec.SSHKeys, err)
	}
}
