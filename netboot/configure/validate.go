package configure

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Validate refuses a configuration that would not mean in the image's files what
// it says: names, addresses and keys that are none, or that carry line breaks or
// separators into a file of lines.
func Validate(c job.Config) error {
	if err := hostname(c.Hostname); err != nil {
		return err
	}
	if strings.ContainsAny(c.InstanceID, "\n\r\"'") {
		return fmt.Errorf("instance ID %q has line breaks or quotes", c.InstanceID)
	}
	for _, n := range c.NICs {
		if err := nic(n); err != nil {
			return err
		}
	}
	for _, d := range c.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			return fmt.Errorf("DNS server %q is no address", d)
		}
	}
	for _, s := range c.Search {
		if err := hostname(s); err != nil {
			return fmt.Errorf("search domain: %w", err)
		}
	}
	for _, u := range c.Users {
		if err := user(u); err != nil {
			return err
		}
	}
	return nil
}

// hostname is RFC 1123 2.1 and the lengths of RFC 1035 2.3.4.
func hostname(s string) error {
	if s == "" || len(s) > 253 {
		return fmt.Errorf("host name %q has %d characters, 1 to 253 are allowed", s, len(s))
	}
	label := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	for _, l := range strings.Split(s, ".") {
		if !label.MatchString(l) {
			return fmt.Errorf("host name %q: the label %q is not 1 to 63 letters, digits and inner hyphens (RFC 1123)", s, l)
		}
	}
	return nil
}

const maxVLAN, minMTU, maxMTU = 4094, 68, 65535

func nic(n job.NIC) error {
	m, err := net.ParseMAC(n.MAC)
	if err != nil || len(m) != 6 {
		return fmt.Errorf("NIC %q is no MAC address", n.MAC)
	}
	for _, a := range n.Addresses {
		if _, err := netip.ParsePrefix(a); err != nil {
			return fmt.Errorf("NIC %s: address %q is not ADDRESS/LENGTH", n.MAC, a)
		}
	}
	if n.Gateway != "" {
		if _, err := netip.ParseAddr(n.Gateway); err != nil {
			return fmt.Errorf("NIC %s: gateway %q is no address", n.MAC, n.Gateway)
		}
	}
	if n.VLAN < 0 || n.VLAN > maxVLAN {
		return fmt.Errorf("NIC %s: VLAN %d is not 1 to %d", n.MAC, n.VLAN, maxVLAN)
	}
	if n.MTU != 0 && (n.MTU < minMTU || n.MTU > maxMTU) {
		return fmt.Errorf("NIC %s: MTU %d is not %d to %d", n.MAC, n.MTU, minMTU, maxMTU)
	}
	return nil
}

func user(u job.User) error {
	if !regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`).MatchString(u.Name) {
		return fmt.Errorf("user name %q is not a lower-case letter or _ and up to 31 of a-z 0-9 _ -", u.Name)
	}
	if h := u.PasswordHash; h != "" && !regexp.MustCompile(`^\$[A-Za-z0-9./$,=_-]+$`).MatchString(h) {
		return fmt.Errorf("user %s: the password hash is not in crypt(5)'s form", u.Name)
	}
	for i, k := range u.SSHKeys {
		if strings.ContainsAny(k, "\n\r\x00") {
			return fmt.Errorf("user %s: SSH key %d has line breaks", u.Name, i+1)
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil {
			return errors.Join(fmt.Errorf("user %s: SSH key %d is no authorized_keys line", u.Name, i+1), err)
		}
	}
	return nil
}
