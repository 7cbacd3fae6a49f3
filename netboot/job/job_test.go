package job

import (
	"strings"
	"testing"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAGwWD+s"

// TestRescueReady: a host key is told by its fingerprint, as ssh shows it.
func TestRescueReady(t *testing.T) {
	r := &RescueReady{Address: "10.0.0.10:22"}
	if got, want := r.String(), "rescue system at root@10.0.0.10:22"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.HostKeys = []string{testKey, "no key"}
	if got := r.String(); !strings.HasPrefix(got, "rescue system at root@10.0.0.10:22, host key SHA256:") || strings.Contains(got, "no key") {
		t.Errorf("%q", got)
	}
}

// TestMatches: a disk that is removable or on USB is used only if the hint names
// it.
func TestMatches(t *testing.T) {
	yes, no := true, false
	fixed := Disk{Path: "/dev/sda", Serial: "S1", WWN: "0xab", Bytes: 10}
	stick := Disk{Path: "/dev/sdb", Serial: "USB", Removable: true}
	usb := Disk{Path: "/dev/sdc", Serial: "SSD", Transport: "usb"}
	for name, c := range map[string]struct {
		d    Disk
		h    DiskHint
		want bool
	}{
		"anything":                    {fixed, DiskHint{}, true},
		"anything removable":          {stick, DiskHint{}, false},
		"a kind of removable":         {stick, DiskHint{Rotational: &no, MinBytes: 1}, false},
		"a named removable":           {stick, DiskHint{Serial: "USB"}, true},
		"removable by path":           {stick, DiskHint{Path: "/dev/sdb"}, true},
		"anything on USB":             {usb, DiskHint{}, false},
		"a kind on USB":               {usb, DiskHint{Rotational: &no, MinBytes: 1}, false},
		"named on USB":                {usb, DiskHint{Serial: "SSD"}, true},
		"another serial":              {fixed, DiskHint{Serial: "S2"}, false},
		"WWN in another case":         {fixed, DiskHint{WWN: "0xAB"}, true},
		"spinning":                    {fixed, DiskHint{Rotational: &yes}, false},
		"its size is asked elsewhere": {fixed, DiskHint{MinBytes: 11}, true},
		"all of it":                   {fixed, DiskHint{Serial: "S1", WWN: "0xab", Path: "/dev/sda", Rotational: &no}, true},
	} {
		if got := c.h.Matches(c.d); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestSecretsAreNotShown: what is wrong with a user is said without its secrets.
func TestSecretsAreNotShown(t *testing.T) {
	for name, u := range map[string]User{
		"password in clear":    {Name: "a", PasswordHash: "hunter2"},
		"password with a line": {Name: "a", PasswordHash: "$6$hunter2\nroot::0"},
		"private key":          {Name: "a", SSHKeys: []string{"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2"}},
		"two keys in one":      {Name: "a", SSHKeys: []string{testKey + " hunter2\n" + testKey}},
	} {
		if err := u.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), "user a: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
