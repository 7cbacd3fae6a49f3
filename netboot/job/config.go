package job

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Validate refuses a configuration that would not mean in the image's files what
// it says: names, addresses and keys that are none, or that carry line breaks or
// separators into a file of lines.
func (c Config) Validate() error {
	if err := hostname(c.Hostname); err != nil {
		return err
	}
	if strings.ContainsAny(c.InstanceID, "\n\r\"'") {
		return fmt.Errorf("instance ID %q has line breaks or quotes", c.InstanceID)
	}
	for i, n := range c.NICs {
		if err := n.Validate(); err != nil {
			return err
		}
		for _, other := range c.NICs[:i] {
			if strings.EqualFold(n.MAC, other.MAC) && n.VLAN == other.VLAN {
				return fmt.Errorf("NIC %s is configured twice with the same VLAN (%d; 0 is untagged): put all its addresses into one entry", n.MAC, n.VLAN)
			}
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
		if err := u.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// hostname is RFC 1123 2.1 and the lengths of RFC 1035 2.3.4.
func hostname(s string) error {
	if s == "" || len(s) > 253 {
		return fmt.Errorf("hostname %q has %d characters, 1 to 253 are allowed", s, len(s))
	}
	label := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	for _, l := range strings.Split(s, ".") {
		if !label.MatchString(l) {
			return fmt.Errorf("hostname %q: the label %q is not 1 to 63 letters, digits and inner hyphens (RFC 1123)", s, l)
		}
	}
	return nil
}

const maxVLAN, minMTU, maxMTU = 4094, 68, 65535

// Validate refuses what is no address, and what no interface can have.
func (n NIC) Validate() error {
	m, err := net.ParseMAC(n.MAC)
	if err != nil || len(m) != 6 {
		return fmt.Errorf("NIC %q is no MAC address", n.MAC)
	}
	for _, a := range n.Addresses {
		if _, err := netip.ParsePrefix(a); err != nil {
			return fmt.Errorf("NIC %s: address %q is not ADDRESS/LENGTH", n.MAC, a)
		}
	}
	if err := n.gateways(); err != nil {
		return err
	}
	if n.VLAN < 0 || n.VLAN > maxVLAN {
		return fmt.Errorf("NIC %s: VLAN %d is not 1 to %d", n.MAC, n.VLAN, maxVLAN)
	}
	if n.MTU != 0 && (n.MTU < minMTU || n.MTU > maxMTU) {
		return fmt.Errorf("NIC %s: MTU %d is not %d to %d", n.MAC, n.MTU, minMTU, maxMTU)
	}
	return nil
}

// gateways refuses routers that are no address, and two of one family.
func (n NIC) gateways() error {
	if n.Gateway != "" {
		if _, err := netip.ParseAddr(n.Gateway); err != nil {
			return fmt.Errorf("NIC %s: gateway %q is no address", n.MAC, n.Gateway)
		}
	}
	if n.Gateway6 == "" {
		return nil
	}
	if a, err := netip.ParseAddr(n.Gateway6); err != nil || !a.Is6() || a.Is4In6() {
		return fmt.Errorf("NIC %s: gateway6 %q is no IPv6 address", n.MAC, n.Gateway6)
	}
	if strings.Contains(n.Gateway, ":") {
		return fmt.Errorf("NIC %s: gateway and gateway6 are both IPv6: one of them is enough", n.MAC)
	}
	return nil
}

// Router is the default router of IPv6 or of IPv4; "" is none.
func (n NIC) Router(six bool) string {
	switch {
	case six && n.Gateway6 != "":
		return n.Gateway6
	case strings.Contains(n.Gateway, ":") == six:
		return n.Gateway
	}
	return ""
}

var (
	// userName is what Debian's useradd takes.
	userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	// crypted is crypt(5)'s form, which has nothing that parts the fields of shadow(5).
	crypted = regexp.MustCompile(`^\$[A-Za-z0-9./$,=_-]+$`)
)

// Validate refuses a user that the system would not make, or whose keys or
// password hash are none. Its error shows neither.
func (u User) Validate() error {
	if !userName.MatchString(u.Name) {
		return fmt.Errorf("user %q: must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or _", u.Name)
	}
	if u.PasswordHash != "" && !crypted.MatchString(u.PasswordHash) {
		return fmt.Errorf("user %s: password_hash is not a crypt(5) hash; make one with: openssl passwd -6", u.Name)
	}
	for i, k := range u.SSHKeys {
		_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k))
		if err != nil || len(rest) > 0 || strings.ContainsAny(k, "\n\r\x00") {
			return fmt.Errorf("user %s: ssh key %d is not one authorized_keys line", u.Name, i+1)
		}
	}
	return nil
}
