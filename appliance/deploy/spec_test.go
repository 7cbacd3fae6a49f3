package deploy

import (
	"strings"
	"testing"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/netboot/job"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS someone@example"

// TestKeysAreLines holds that a key taken from a file is one line when the agent
// gets it, and that a key the agent would refuse is refused before the machine's
// power is touched.
func TestKeysAreLines(t *testing.T) {
	m := &asset.Machine{ID: "m1", Inventory: &job.Inventory{CPU: job.CPU{Arch: "amd64"}, Firmware: "bios",
		Disks: []job.Disk{{Path: "/dev/vda", Bytes: 1 << 30}}}}
	img := Image{Name: "mini:1", Arch: "amd64", Firmware: "both", Size: 1 << 20}
	spec := Spec{SSHKeys: []string{testKey + "\n"}, Users: []job.User{{Name: "ops", SSHKeys: []string{" " + testKey + "\r\n"}}}}
	if err := spec.check(m, img); err != nil {
		t.Fatal(err)
	}
	if spec.SSHKeys[0] != testKey || spec.Users[0].SSHKeys[0] != testKey {
		t.Errorf("keys are %q and %q", spec.SSHKeys, spec.Users[0].SSHKeys)
	}
	for _, bad := range []string{testKey + "\n" + testKey, "# a comment\n" + testKey, "", "ssh-ed25519"} {
		spec := Spec{SSHKeys: []string{bad}}
		if err := spec.check(m, img); err == nil || !strings.Contains(err.Error(), "not one authorized_keys line") {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}
