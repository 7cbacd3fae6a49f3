package configure

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/netboot/job"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBRMpMfVQ1pDkqzGVSxBfNTaBIiBZLEUJ5IqTnPT2kN6 me"

var testConfig = job.Config{
	Hostname: "web1.example.org", InstanceID: "i-7",
	NICs: []job.NIC{
		{MAC: "52:54:00:AA:00:01", Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}, Gateway: "192.0.2.1", MTU: 9000},
		{MAC: "52:54:00:aa:00:02", DHCP: true, VLAN: 40},
	},
	DNS: []string{"192.0.2.53"}, Search: []string{"example.org"},
	Users: []job.User{{Name: "root", SSHKeys: []string{testKey}}, {Name: "ops", PasswordHash: "$y$j9T$abc$def", SSHKeys: []string{testKey}, Sudo: true}},
}

// newRoot makes an image root of the given files.
func newRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	base := map[string]string{
		"etc/os-release": "ID=test\n", "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.1 other\n", "etc/machine-id": "0123\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n+nis\n", "etc/shadow": "root:!:1:0:99999:7:::\n",
		"etc/group": "root:x:0:\nsudo:x:27:adm\n", "etc/sudoers.d/README": "", "etc/ssh/ssh_host_rsa_key": "everyone's", "etc/ssh/ssh_host_rsa_key.pub": "everyone's",
		"etc/skel/.profile": "umask 022\n", "bin/bash": "", "lib/systemd/systemd": "",
	}
	for _, m := range []map[string]string{base, files} {
		for name, text := range m {
			p := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if target, ok := strings.CutPrefix(text, "-> "); ok {
				if err := os.Symlink(target, p); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What each network system's files say, and that doing it twice changes nothing.
func TestNetworkFiles(t *testing.T) {
	for _, c := range []struct {
		system string
		image  map[string]string
		want   map[string]string
	}{
		{"systemd-networkd", map[string]string{"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "-> /lib/systemd/system/systemd-networkd.service"}, map[string]string{
			"etc/systemd/network/05-gantry-net0.network":    "[Match]\nPermanentMACAddress=52:54:00:aa:00:01\n\n[Link]\nMTUBytes=9000\n\n[Network]\nAddress=192.0.2.10/24\nAddress=2001:db8::10/64\nDNS=192.0.2.53\nDomains=example.org\n\n[Route]\nGateway=192.0.2.1\nGatewayOnLink=yes\n",
			"etc/systemd/network/05-gantry-net1.network":    "[Match]\nPermanentMACAddress=52:54:00:aa:00:02\n\n[Network]\nVLAN=net1.40\nLinkLocalAddressing=no\n",
			"etc/systemd/network/05-gantry-net1.40.netdev":  "[NetDev]\nName=net1.40\nKind=vlan\n\n[VLAN]\nId=40\n",
			"etc/systemd/network/05-gantry-net1.40.network": "[Match]\nName=net1.40\n\n[Network]\nDHCP=ipv4\nDNS=192.0.2.53\nDomains=example.org\n",
			"etc/resolv.conf": "search example.org\nnameserver 192.0.2.53\n",
		}},
		{"ifupdown", map[string]string{"sbin/ifup": ""}, map[string]string{
			"etc/mactab":             "net0 52:54:00:aa:00:01\nnet1 52:54:00:aa:00:02\n",
			"etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto net0\niface net0 inet static\n\taddress 192.0.2.10\n\tnetmask 255.255.255.0\n\tmtu 9000\n\tgateway 192.0.2.1\n\tdns-nameservers 192.0.2.53\n\tdns-search example.org\niface net0 inet6 static\n\taddress 2001:db8::10\n\tnetmask 64\n\nauto net1\niface net1 inet manual\n\nauto net1.40\niface net1.40 inet dhcp\n\tvlan-raw-device net1\n\tpre-up ip link show dev net1.40 >/dev/null 2>&1 || ip link add link net1 name net1.40 type vlan id 40\n",
		}},
		{"netplan", map[string]string{"usr/sbin/netplan": ""}, nil},
		{"NetworkManager", map[string]string{"etc/systemd/system/multi-user.target.wants/NetworkManager.service": "-> /x"}, nil},
		{"cloud-init", map[string]string{"usr/bin/cloud-init": ""}, nil},
	} {
		t.Run(c.system, func(t *testing.T) {
			root := newRoot(t, c.image)
			for range 2 {
				r, err := Apply(root, testConfig)
				if err != nil || r.Network != c.system {
					t.Fatalf("%+v, %v", r, err)
				}
				for name, want := range c.want {
					if d := cmp.Diff(want, read(t, root, name)); d != "" {
						t.Errorf("%s (-want +got):\n%s", name, d)
					}
				}
			}
		})
	}
}

// cloud-init and the files never both say what the network is.
func TestOneWriterOfTheNetwork(t *testing.T) {
	both := newRoot(t, map[string]string{"usr/bin/cloud-init": "", "usr/sbin/netplan": ""})
	only := newRoot(t, map[string]string{"usr/bin/cloud-init": ""})
	for _, root := range []string{both, only} {
		if _, err := Apply(root, testConfig); err != nil {
			t.Fatal(err)
		}
		_, drop, _ := strings.Cut(read(t, root, cloudDropI), "\n")
		var d map[string]any
		if err := json.Unmarshal([]byte(drop), &d); err != nil {
			t.Fatal(err)
		}
		_, off := d["network"]
		_, err := os.Stat(filepath.Join(root, seedDir, "network-config"))
		if seeded := err == nil; seeded == off {
			t.Errorf("%s: network disabled in cloud-init: %v, in the seed: %v", root, off, seeded)
		}
	}
	if got := read(t, both, seedDir+"/meta-data"); got != `{"instance-id":"i-7","local-hostname":"web1"}`+"\n" {
		t.Error(got)
	}
}

func TestIdentityUsersAndKeys(t *testing.T) {
	root := newRoot(t, map[string]string{"sbin/ifup": ""})
	first, err := Apply(root, testConfig)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Apply(root, testConfig)
	if err != nil {
		t.Fatal(err)
	}
	if first.HostKeys[0] == second.HostKeys[0] {
		t.Error("two deployments have one host key")
	}
	for name, want := range map[string]string{
		"etc/hostname": "web1\n", "etc/hosts": "127.0.0.1 localhost\n10.0.0.1 other\n127.0.1.1 web1.example.org web1\n", "etc/machine-id": "",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\nops:x:1000:1000::/home/ops:/bin/bash\n+nis\n",
		"etc/shadow": "root:*:1:0:99999:7:::\nops:$y$j9T$abc$def::0:99999:7:::\n",
		"etc/group":  "root:x:0:\nsudo:x:27:adm,ops\nops:x:1000:\n", "root/.ssh/authorized_keys": testKey + "\n", "home/ops/.ssh/authorized_keys": testKey + "\n",
		"home/ops/.profile": "umask 022\n", "etc/sudoers.d/gantry-ops": "ops ALL=(ALL:ALL) NOPASSWD:ALL\n",
	} {
		if d := cmp.Diff(want, read(t, root, name)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "etc/ssh/ssh_host_rsa_key")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the image's host key is still there")
	}
	key, err := ssh.ParsePrivateKey([]byte(read(t, root, "etc/ssh/ssh_host_ed25519_key")))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(second.HostKeys[0], strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))) {
		t.Error("the reported key is not the one on the disk")
	}
	for name, mode := range map[string]os.FileMode{"etc/ssh/ssh_host_ed25519_key": 0o600, "home/ops/.ssh": 0o700, "etc/sudoers.d/gantry-ops": 0o440} {
		if st, err := os.Stat(filepath.Join(root, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

// An image whose files are links to ours gets its own files and ours stay.
func TestHostileImageReachesNothingOutside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("ours"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, map[string]string{"sbin/ifup": "", "etc/hostname": "-> " + victim, "root": "-> " + outside, "home": "-> ../../../../../.." + outside, "etc/network": "-> " + outside})
	_, err := Apply(root, testConfig)
	if b, _ := os.ReadFile(victim); string(b) != "ours" {
		t.Errorf("victim: %q", b)
	}
	if es, _ := os.ReadDir(outside); len(es) != 1 {
		t.Errorf("outside has %v (%v)", es, err)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*job.Config){
		"host name":  func(c *job.Config) { c.Hostname = "a\nb" },
		"empty name": func(c *job.Config) { c.Hostname = "" },
		"user":       func(c *job.Config) { c.Users = []job.User{{Name: "a:0:0"}} },
		"user dots":  func(c *job.Config) { c.Users = []job.User{{Name: "../x"}} },
		"hash":       func(c *job.Config) { c.Users = []job.User{{Name: "a", PasswordHash: "$6$x:0:"}} },
		"key":        func(c *job.Config) { c.Users = []job.User{{Name: "a", SSHKeys: []string{testKey + "\n" + testKey}}} },
		"no key":     func(c *job.Config) { c.Users = []job.User{{Name: "a", SSHKeys: []string{"hello"}}} },
		"MAC":        func(c *job.Config) { c.NICs = []job.NIC{{MAC: "eth0"}} },
		"address":    func(c *job.Config) { c.NICs = []job.NIC{{MAC: "52:54:00:00:00:01", Addresses: []string{"10.0.0.1"}}} },
		"twice": func(c *job.Config) {
			c.NICs = []job.NIC{{MAC: "52:54:00:00:00:0a", VLAN: 40}, {MAC: "52:54:00:00:00:0A", VLAN: 40}}
		},
		"VLAN": func(c *job.Config) { c.NICs = []job.NIC{{MAC: "52:54:00:00:00:01", VLAN: 4095}} },
		"two IPv6 gateways": func(c *job.Config) {
			c.NICs = []job.NIC{{MAC: "52:54:00:00:00:01", Gateway: "fe80::1", Gateway6: "fe80::2"}}
		},
		"IPv4 as gateway6": func(c *job.Config) { c.NICs = []job.NIC{{MAC: "52:54:00:00:00:01", Gateway6: "10.0.0.1"}} },
		"DNS":              func(c *job.Config) { c.DNS = []string{"8.8.8.8\nnameserver 6.6.6.6"} },
	} {
		c := testConfig
		change(&c)
		var p *job.Problem
		if _, err := Apply(t.TempDir(), c); !errors.As(err, &p) || p.Code != "configure" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the image's passwd and group hold, a user that is made has a number
// of its own and stays one line.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n", "root:*:1::::::\n")
	f.Add("ops:x", "ops\n\n:::", "+\n-x:\n")
	f.Fuzz(func(t *testing.T, passwd, group, shadow string) {
		a := &accounts{passwd: parseTable(passwd), group: parseTable(group), shadow: parseTable(shadow)}
		if a.ensure(job.User{Name: "ops", Sudo: true}, "/bin/sh") != nil {
			return
		}
		if strings.Count("\n"+a.passwd.String(), "\nops:") != max(1, strings.Count("\n"+passwd, "\nops:")) {
			t.Fatalf("%q", a.passwd.String())
		}
	})
}
