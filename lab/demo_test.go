package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemoSpeaksToItsCaller runs the demo's script with programs that only note
// how they are called: each command is shown before it runs, and what is printed
// at the end works for whoever called it, with sudo or as root.
func TestDemoSpeaksToItsCaller(t *testing.T) {
	script, err := os.ReadFile("demo.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, uid, prefix string }{{"root", "", ""}, {"sudo", "1000", "sudo "}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			write("lab/demo.sh", string(script))
			write("build/bin/gantry", "#!/bin/sh\necho \"$*\" >>\"$LOG\"\ncase \"$*\" in 'lab up'*) mkdir -p build/lab/demo ;; *show*) echo 'wiped  /dev/vda' ;; esac\n")
			write("bin/ssh", "#!/bin/sh\n")
			write("bin/ssh-keygen", "#!/bin/sh\n")
			write("bin/chown", "#!/bin/sh\necho \"chown $*\" >>\"$LOG\"\n")
			cmd := exec.Command(filepath.Join(dir, "lab/demo.sh"))
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "LOG="+filepath.Join(dir, "log"),
				"SUDO_UID="+c.uid, "SUDO_GID="+c.uid)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			if err != nil {
				t.Fatal(err)
			}
			state := filepath.Join(dir, "build/lab/demo")
			for says, want := range map[string]bool{
				"chown :1000 " + state: c.uid != "",
				"chown 1000:1000 " + state + "/id_ed25519 " + state + "/id_ed25519.pub " + state + "/known_hosts": c.uid != "",
				"machine release m1": true,
			} {
				if strings.Contains(string(log), says+"\n") != want {
					t.Errorf("%q is %v in:\n%s", says, !want, log)
				}
			}
			for _, says := range []string{
				"commands       " + c.prefix + "build/bin/gantry --socket /run/gantry-lab/demo/appliance.sock machine list\n",
				"console        " + c.prefix + "build/bin/gantry --socket ",
				"$ build/bin/gantry machine show m1\x1b[0m\nwiped", // a piped command too is shown
			} {
				if !strings.Contains(string(out), says) {
					t.Errorf("no %q in:\n%s", says, out)
				}
			}
		})
	}
}
