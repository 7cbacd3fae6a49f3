package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/netboot/job"
)

func TestSpec(t *testing.T) {
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
	given := func(flags ...string) func(string) bool {
		return func(flag string) bool { return slices.Contains(flags, flag) }
	}
	private := file("id", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n")
	keys := file("keys", "# mine\nssh-ed25519 AAAA a\n\r\n  ssh-rsa BBBB b\r\n")
	odd := file("ssh-keys", "ssh-ed25519 EEEE e\n")
	seed := file("seed", "#cloud-config\n")
	layout := file("layout", "partitions: [{name: root, size: 0, use: root, fs: ext4, mount: /}]")
	typo := file("typo", "partitions:\n  - nam: root\n")
	all := file("all.yaml", `
image: debian-12:1
hostname: web1
users: [{name: ops, password_hash: "$6$salt$hash", sudo: true}]
nics: [{mac: "52:54:00:00:00:01", addresses: ["10.20.1.1/22"], gateway: 10.20.0.1}]
disk: {wwn: "0x5000", rotational: false}
`)
	asJSON := file("all.json", `{"image": "debian-12", "ssh_keys": ["ssh-ed25519 FFFF f"]}`)
	unknown := file("unknown.yaml", "image: x\npasword: geheim\n")

	image := deploy.Spec{Image: "mini"}
	get := func(d deployFlags, flags ...string) deploy.Spec {
		t.Helper()
		spec, err := d.spec(given(flags...))
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	spec := get(deployFlags{flags: image, keyFiles: []string{keys, "ssh-ed25519 CCCC c", "sk-ssh-ed25519@openssh.com DDDD d", odd}, userData: seed, layout: layout}, "image")
	if d := cmp.Diff([]string{"ssh-ed25519 AAAA a", "ssh-rsa BBBB b", "ssh-ed25519 CCCC c", "sk-ssh-ed25519@openssh.com DDDD d", "ssh-ed25519 EEEE e"}, spec.SSHKeys); d != "" ||
		spec.UserData != "#cloud-config\n" || spec.Layout == nil || spec.Layout.Partitions[0].Mount != "/" || spec.Image != "mini" {
		t.Errorf("%+v %s", spec, d)
	}

	// The file has it all; a flag that is given goes before it.
	solid := false
	want := deploy.Spec{Image: "debian-12:1", Hostname: "web1",
		Users: []job.User{{Name: "ops", PasswordHash: "$6$salt$hash", Sudo: true}},
		NICs:  []job.NIC{{MAC: "52:54:00:00:00:01", Addresses: []string{"10.20.1.1/22"}, Gateway: "10.20.0.1"}},
		Disk:  job.DiskHint{WWN: "0x5000", Rotational: &solid}}
	if d := cmp.Diff(want, get(deployFlags{file: all, flags: image})); d != "" {
		t.Error(d)
	}
	want.Image, want.Disk.Serial, want.SSHKeys = "mini", "S1", []string{"ssh-ed25519 CCCC c"}
	if d := cmp.Diff(want, get(deployFlags{file: all, flags: deploy.Spec{Image: "mini", Disk: job.DiskHint{Serial: "S1"}}, keyFiles: []string{"ssh-ed25519 CCCC c"}}, "image", "disk-serial")); d != "" {
		t.Error(d)
	}
	if got := get(deployFlags{file: asJSON}); got.Image != "debian-12" || len(got.SSHKeys) != 1 {
		t.Errorf("JSON: %+v", got)
	}

	none := filepath.Join(dir, "none")
	for says, d := range map[string]deployFlags{
		"--ssh-key":           {flags: image},
		"no image":            {keyFiles: []string{keys}},
		"give the public one": {flags: image, keyFiles: []string{private}},
		"none: no such":       {flags: image, keyFiles: []string{none}},
		"open " + none:        {flags: image, keyFiles: []string{keys}, userData: none},
		`"nam"`:               {flags: image, keyFiles: []string{keys}, layout: typo},
		`"pasword"`:           {file: unknown, keyFiles: []string{keys}},
		"--spec":              {file: none},
	} {
		_, err := d.spec(given("image"))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "b3Bl") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v, want %q", err, says)
		}
	}
	file(".ssh/id_ed25519.pub", "ssh-ed25519 DDDD d\n")
	if spec := get(deployFlags{flags: image}, "image"); len(spec.SSHKeys) != 1 || !strings.Contains(spec.SSHKeys[0], "DDDD") {
		t.Errorf("the default key: %v", spec.SSHKeys)
	}
}
