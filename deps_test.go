package gantry_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDeps holds that installing packages starts none of their servers, now or
// at the next boot, leaves a policy of the machine's own alone, and does nothing
// when nothing is missing.
func TestDeps(t *testing.T) {
	script, err := filepath.Abs(".ci/deps.sh")
	if err != nil {
		t.Fatal(err)
	}
	fakes := map[string]string{
		"id":         "echo 0",
		"dpkg-query": `sed 's/^/installed /' have`,
		"dpkg":       "echo /lib/systemd/system/nginx.service; echo /lib/systemd/system/getty@.service; echo /usr/sbin/nginx",
		"systemctl":  `echo "$*" >>systemctl.log`,
		"apt-get": `echo "$*" >>apt.log; [ "$1" = install ] || exit 0
			"$GANTRY_POLICY" nginx start; echo "policy says $?" >>apt.log; cat "$GANTRY_POLICY" >>apt.log
			echo nginx >>have; exit "${FAIL:-0}"`,
	}
	const ours = "#!/bin/sh\n# made by .ci/deps.sh of Gantry while it installs packages\nexit 101\n"
	for _, c := range []struct {
		name, policy, after, fail string
		packages                  []string
		says                      string // in apt.log
	}{
		{name: "missing", packages: []string{"bash", "nginx"}, says: "policy says 101"},
		{name: "missing and killed before", policy: ours, packages: []string{"nginx"}, says: "policy says 101"},
		{name: "fails", fail: "100", packages: []string{"nginx"}, says: "policy says 101"},
		{name: "own policy", policy: "#!/bin/sh\nexit 104\n", after: "#!/bin/sh\nexit 104\n", packages: []string{"nginx"}, says: "policy says 104"},
		{name: "nothing missing", packages: []string{"bash"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range fakes {
				write(name, "#!/bin/bash\n"+text+"\n")
			}
			write("have", "bash\n")
			write("x_Packages", "")
			if c.policy != "" {
				write("policy", c.policy)
			}
			cmd := exec.Command(script, c.packages...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GANTRY_POLICY="+dir+"/policy",
				"GANTRY_APT_LISTS="+dir, "GANTRY_SYSTEMD="+dir, "FAIL="+c.fail)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (c.fail != "") {
				t.Fatalf("%v: %s", err, out)
			}
			read := func(name string) string {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				return string(b)
			}
			if apt := read("apt.log"); !strings.Contains(apt, c.says) || (apt == "") != (c.says == "") {
				t.Errorf("apt saw %q, want %q", apt, c.says)
			}
			if got := read("policy"); got != c.after {
				t.Errorf("the policy is %q afterwards, want %q", got, c.after)
			}
			if got := read("systemctl.log"); c.says != "" && c.fail == "" && got != "disable -q nginx.service\n" || c.says == "" && got != "" {
				t.Errorf("systemctl was told %q", got)
			}
		})
	}
}

// TestMakeFindsSbin: Debian keeps mke2fs, nft and their like where a user's PATH
// does not lead, and make's recipes and tests find them all the same.
func TestMakeFindsSbin(t *testing.T) {
	cmd := exec.Command("make", "--no-print-directory", "--eval=where: ; @command -v mke2fs", "where")
	cmd.Env = append(os.Environ(), "PATH=/usr/local/bin:/usr/bin:/bin")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "/sbin/mke2fs") {
		t.Errorf("%v: %s", err, out)
	}
}
