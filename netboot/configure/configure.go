// Package configure makes a written image this server: host name, addresses,
// users, keys. It changes files below the image's mounted root and nothing else,
// whatever links the image has; it runs none of the image's programs. Doing it
// twice ends in the same files, but for the SSH host keys, which are new.
//
// There is one writer of each thing. The files that the image's own network
// system, login and SSH server read are written here, always. An image with
// cloud-init gets a NoCloud seed as well, which carries the instance's ID, the
// host name and the customer's user data, and a drop-in that tells cloud-init to
// leave network, host keys and users alone, unless the user data says otherwise.
// Only if the image's network system is none that is known here does the seed
// carry the network's configuration, and cloud-init applies it.
package configure

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/confine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Result is what was done.
type Result struct {
	// HostKeys are the public SSH host keys in authorized_keys form.
	HostKeys []string
	// Notes are what a person may want to know, such as that the image has no
	// sudo.
	Notes []string
	// Network is the image's network system: "netplan", "systemd-networkd",
	// "ifupdown", "NetworkManager" or "cloud-init".
	Network string
}

// Apply configures the image whose root is mounted at dir.
func Apply(dir string, c job.Config) (Result, error) {
	if err := Validate(c); err != nil {
		return Result{}, &job.Problem{Code: "configure", Detail: err.Error()}
	}
	root, err := confine.Open(dir)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	im := &image{Dir: root, config: c}
	if err := im.apply(); err != nil {
		return Result{}, &job.Problem{Code: "configure", Detail: err.Error()}
	}
	return im.result, nil
}

// image is an image being configured.
type image struct {
	*confine.Dir
	config job.Config
	result Result
}

var rootUser = confine.Owner{}

func (im *image) apply() error {
	for _, step := range [...]struct {
		what string
		do   func() error
	}{
		{"identity", im.identity},
		{"network", im.network},
		{"users", im.users},
		{"SSH host keys", im.hostKeys},
		{"cloud-init", im.cloudInit},
		{"SELinux", im.relabel},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// IsRoot says that a mounted folder holds an operating system.
func IsRoot(dir string) bool {
	d, err := confine.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.Exists("etc/os-release") || d.Exists("usr/lib/os-release")
}

// write makes the folders above a file and the file.
func (im *image) write(name, text string, mode uint32) error {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		if err := im.MkdirAll(name[:i], 0o755, rootUser); err != nil {
			return err
		}
	}
	return im.WriteFile(name, []byte(text), mode, rootUser)
}

// identity is the host name, and a machine ID that is made at the first boot: an
// empty file means just that (machine-id(5)).
func (im *image) identity() error {
	short, _, _ := strings.Cut(im.config.Hostname, ".")
	if err := im.write("etc/hostname", short+"\n", 0o644); err != nil {
		return err
	}
	old, _ := im.ReadFile("etc/hosts")
	if err := im.write("etc/hosts", hosts(string(old), im.config.Hostname), 0o644); err != nil {
		return err
	}
	if err := im.Remove("var/lib/dbus/machine-id"); err != nil {
		return err
	}
	if im.Exists("etc/machine-id") || im.Exists("usr/lib/systemd") || im.Exists("lib/systemd/systemd") {
		return im.write("etc/machine-id", "", 0o444)
	}
	return nil
}

// hosts gives 127.0.1.1 to the host's names and leaves the other lines, but for
// those of another host with that address.
func hosts(old, fqdn string) string {
	short, _, dotted := strings.Cut(fqdn, ".")
	own := "127.0.1.1 " + fqdn
	if dotted {
		own += " " + short
	}
	out := []string{}
	local := false
	for _, l := range strings.Split(strings.TrimRight(old, "\n"), "\n") {
		f := strings.Fields(l)
		if len(f) > 0 && f[0] == "127.0.1.1" {
			continue
		}
		local = local || len(f) > 0 && f[0] == "127.0.0.1"
		if l != "" || len(out) > 0 {
			out = append(out, l)
		}
	}
	if !local {
		out = append([]string{"127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"}, out...)
	}
	return strings.Join(append(out, own), "\n") + "\n"
}

// relabel asks SELinux to label the files written here, which have no labels
// yet, at the first boot.
func (im *image) relabel() error {
	b, err := im.ReadFile("etc/selinux/config")
	if err != nil || !strings.Contains("\n"+string(b), "\nSELINUX=enforcing") {
		return nil
	}
	return im.write(".autorelabel", "", 0o600)
}

// isFile says that a path leads to a regular file.
func (im *image) isFile(name string) bool {
	st, err := im.Stat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

func (im *image) anyFile(names ...string) bool {
	for _, n := range names {
		if im.isFile(n) {
			return true
		}
	}
	return false
}
