package deploy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
)

func goodImage() Image {
	return Image{Name: "debian:12", Arch: "amd64", Firmware: "both", Size: 1 << 30, MinDisk: 2 << 30, MinMemory: 512 << 20}
}

func goodMachine() asset.Machine {
	return asset.Machine{ID: "m1", MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}, Address: netip.MustParseAddr("10.0.0.10"), Inventory: goodInventory()}
}

func goodNetwork() Network { return Network{Prefix: netip.MustParsePrefix("10.0.0.0/24")} }

func goodLayout() *job.Layout {
	return &job.Layout{Partitions: []job.Partition{{Name: "boot", Size: 1 << 20, Use: "bios"}, {Name: "root", Use: "root"}}}
}

func yes() *bool { v := true; return &v }

// TestSpecRefused: what cannot work is refused with the reason, before anything
// is touched.
func TestSpecRefused(t *testing.T) {
	const pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
	rootfs := func(i *Image) { i.Rootfs = true }
	for name, c := range map[string]struct {
		spec Spec
		img  func(*Image)
		m    func(*asset.Machine)
		want string
	}{
		"another architecture":    {img: func(i *Image) { i.Arch = "arm64" }, want: "is for arm64 and machine m1 is amd64"},
		"another firmware":        {img: func(i *Image) { i.Firmware = "uefi" }, want: "boots by uefi only and machine m1 has bios"},
		"too little memory":       {img: func(i *Image) { i.MinMemory = 3 << 30 }, want: "needs 3072 MiB of memory and machine m1 has 2048"},
		"disk smaller than image": {img: func(i *Image) { i.Size = 11 << 30 }, want: "needs a disk of 11264 MiB and the largest of machine m1 has 10240"},
		"disk of other sectors":   {m: func(m *asset.Machine) { m.Inventory.Disks[0].SectorSize = 4096 }, img: func(i *Image) { i.SectorSize = 512 }, want: "disk-sector-size: image debian:12 was made for sectors of 512 bytes"},
		"image of other sectors":  {m: func(m *asset.Machine) { m.Inventory.Disks[0].SectorSize = 512 }, img: func(i *Image) { i.SectorSize = 4096 }, want: "m1 that would do has 512"},
		"disk smaller than need":  {img: func(i *Image) { i.MinDisk = 20 << 30 }, want: "needs a disk of 20480 MiB"},
		"only a removable disk":   {m: func(m *asset.Machine) { m.Inventory.Disks = m.Inventory.Disks[1:] }, want: "no disk"},
		"no such serial":          {spec: Spec{Disk: job.DiskHint{Serial: "S9"}}, want: "no disk that matches"},
		"no spinning disk":        {spec: Spec{Disk: job.DiskHint{Rotational: yes()}}, want: "no disk that matches"},
		"never inspected":         {m: func(m *asset.Machine) { m.Inventory = nil }, want: "never inspected"},
		"hostname with a space":   {spec: Spec{Hostname: "a b"}, want: `hostname "a b"`},
		"hostname of a shell":     {spec: Spec{Hostname: "$(reboot)"}, want: "hostname"},
		"hostname with a line":    {spec: Spec{Hostname: "a\nb"}, want: "hostname"},
		"hostname with a hyphen":  {spec: Spec{Hostname: "-a"}, want: "hostname"},
		"hostname with dots":      {spec: Spec{Hostname: "a..b"}, want: "hostname"},
		"hostname too long":       {spec: Spec{Hostname: strings.Repeat("a.", 127) + "a"}, want: "hostname"},
		"label too long":          {spec: Spec{Hostname: strings.Repeat("a", 64)}, want: "hostname"},
		"user of a path":          {spec: Spec{User: "../root"}, want: `user "../root"`},
		"user in upper case":      {spec: Spec{User: "Admin"}, want: `user "Admin"`},
		"further user":            {spec: Spec{Users: []job.User{{Name: "a:b"}}}, want: `user "a:b"`},
		"key that is none":        {spec: Spec{SSHKeys: []string{userKey, "ssh-ed25519 AAAA"}}, want: "user admin: ssh key 2"},
		"no key at all":           {spec: Spec{SSHKeys: []string{""}}, want: "ssh key 1"},
		"private key":             {spec: Spec{SSHKeys: []string{pem}}, want: "ssh key 1"},
		"two keys in one":         {spec: Spec{SSHKeys: []string{userKey + "\n" + userKey}}, want: "ssh key 1"},
		"password in clear":       {spec: Spec{Users: []job.User{{Name: "a", PasswordHash: "hunter2"}}}, want: "user a: password_hash"},
		"password with a line":    {spec: Spec{Users: []job.User{{Name: "a", PasswordHash: "$6$x\nroot::0"}}}, want: "user a: password_hash"},
		"too much user data":      {spec: Spec{UserData: strings.Repeat("x", 1<<20+1)}, want: "user_data"},
		"layout for a disk image": {spec: Spec{Layout: &job.Layout{}}, want: "leave the layout out"},
		"NIC that is none":        {spec: Spec{NICs: []job.NIC{{MAC: "banana"}}}, want: `NIC "banana" is no MAC address`},
		"NIC of another":          {spec: Spec{NICs: []job.NIC{{MAC: "52:54:00:00:00:09", Addresses: []string{"10.0.0.10/24"}}}}, want: "machine m1 has no NIC 52:54:00:00:00:09"},
		"NICs elsewhere":          {spec: Spec{NICs: []job.NIC{{MAC: "52:54:00:00:00:01", Addresses: []string{"10.0.0.11/24"}}}}, want: "could not be verified"},
		"NICs in a VLAN":          {spec: Spec{NICs: []job.NIC{{MAC: "52:54:00:00:00:01", VLAN: 7, DHCP: true, Addresses: []string{"10.0.0.10/24"}}}}, want: "could not be verified"},
		"DHCP on another NIC":     {spec: Spec{NICs: []job.NIC{{MAC: "52:54:00:00:00:02", DHCP: true}}}, want: "could not be verified"},
		"address without length":  {spec: Spec{NICs: []job.NIC{{MAC: "52:54:00:00:00:01", Addresses: []string{"10.0.0.10"}}}}, want: "is not ADDRESS/LENGTH"},
		"DNS that is none":        {spec: Spec{DNS: []string{"x"}}, want: `DNS server "x" is no address`},
		"layout of a typo":        {spec: Spec{Layout: &job.Layout{Partitions: []job.Partition{{Name: "a", Use: "rooot"}}}}, img: rootfs, want: `layout: partition "a": use "rooot"`},
		"layout too large":        {spec: Spec{Layout: &job.Layout{Partitions: []job.Partition{{Name: "a", Size: 10 << 30, Use: "root"}}}}, img: rootfs, want: "needs a disk of 10242 MiB"},
		"mirror of one disk":      {spec: Spec{Layout: &job.Layout{RAID1: true, Partitions: goodLayout().Partitions}}, img: rootfs, want: "RAID1 needs two disks"},
		"no layout for a rootfs":  {img: func(i *Image) { i.Rootfs = true }, want: "give a layout"},
	} {
		t.Run(name, func(t *testing.T) {
			img, m := goodImage(), goodMachine()
			if c.img != nil {
				c.img(&img)
			}
			if c.m != nil {
				c.m(&m)
			}
			if err := c.spec.check(&m, img, goodNetwork()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			} else if strings.Contains(err.Error(), "b3Blbn") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestSpecAccepted: what is left out is filled in.
func TestSpecAccepted(t *testing.T) {
	m := goodMachine()
	goodNICs := []job.NIC{{MAC: "52:54:00:00:00:02", DHCP: true}, {MAC: "52-54-00-00-00-01", Addresses: []string{"fd00::1/64", "10.0.0.10/24"}, Gateway: "10.0.0.1"}}
	dhcpNICs := []job.NIC{{MAC: "52:54:00:00:00:01", DHCP: true}}
	for name, c := range map[string]struct {
		in, want Spec
		img      Image
	}{
		"nothing": {Spec{}, Spec{Hostname: "m1", User: "admin"}, goodImage()},
		"names": {Spec{Hostname: "Web1.example.com", User: "_web-1", SSHKeys: []string{userKey}},
			Spec{Hostname: "Web1.example.com", User: "_web-1", SSHKeys: []string{userKey}}, goodImage()},
		"key with a line's end": {Spec{SSHKeys: []string{userKey + "\n"}}, Spec{Hostname: "m1", User: "admin", SSHKeys: []string{userKey}}, goodImage()},
		"key with options": {Spec{SSHKeys: []string{`from="10.0.0.0/8" ` + userKey}},
			Spec{Hostname: "m1", User: "admin", SSHKeys: []string{`from="10.0.0.0/8" ` + userKey}}, goodImage()},
		"root file system": {Spec{Layout: goodLayout()}, Spec{Hostname: "m1", User: "admin", Layout: goodLayout()},
			Image{Arch: "amd64", Firmware: "bios", Rootfs: true}},
		"NICs of its own": {Spec{NICs: goodNICs}, Spec{Hostname: "m1", User: "admin", NICs: goodNICs}, goodImage()},
		"DHCP":            {Spec{NICs: dhcpNICs}, Spec{Hostname: "m1", User: "admin", NICs: dhcpNICs}, goodImage()},
		"a removable disk that is named": {Spec{Disk: job.DiskHint{Path: "/dev/sdb"}},
			Spec{Hostname: "m1", User: "admin", Disk: job.DiskHint{Path: "/dev/sdb"}}, goodImage()},
		"the disk asked for": {Spec{Disk: job.DiskHint{Serial: "S1", Path: "/dev/vda", MinBytes: 1 << 30}},
			Spec{Hostname: "m1", User: "admin", Disk: job.DiskHint{Serial: "S1", Path: "/dev/vda", MinBytes: 1 << 30}}, goodImage()},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.in.check(&m, c.img, goodNetwork()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, c.in); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestAdmission: what each state of a machine lets be asked of it. A refusal
// changes nothing and locks nothing.
func TestAdmission(t *testing.T) {
	asks := map[string]func(a *Actuator) (change.Ask, change.Admit, error){
		"inspect":  func(a *Actuator) (change.Ask, change.Admit, error) { k, d := a.AskInspect("m1"); return k, d, nil },
		"release":  func(a *Actuator) (change.Ask, change.Admit, error) { k, d := a.AskRelease("m1"); return k, d, nil },
		"restore":  func(a *Actuator) (change.Ask, change.Admit, error) { k, d := a.AskRestore("m1"); return k, d, nil },
		"unrescue": func(a *Actuator) (change.Ask, change.Admit, error) { k, d := a.AskUnrescue("m1"); return k, d, nil },
		"restart": func(a *Actuator) (change.Ask, change.Admit, error) {
			k, d := a.AskPower(change.Restart, "m1")
			return k, d, nil
		},
		"rescue": func(a *Actuator) (change.Ask, change.Admit, error) {
			return a.AskRescue("m1", RescueSpec{SSHKeys: []string{userKey}})
		},
		"deploy": func(a *Actuator) (change.Ask, change.Admit, error) {
			return a.AskDeploy(context.Background(), "m1", Spec{Image: "debian"})
		},
	}
	allowed := map[machine.State]string{
		machine.Discovered: "inspect", machine.Inspecting: "inspect", machine.Available: "inspect deploy", machine.Reserved: "release deploy",
		machine.Imaging: "release", machine.Configuring: "release", machine.Verifying: "release", machine.Active: "release rescue restart",
		machine.Releasing: "release restore", machine.Rescue: "release rescue unrescue", machine.Maintenance: "restore", machine.Broken: "release",
	}
	inPod(t, func(t *testing.T, p *pod) {
		p.box.noBoot = true
		p.runner.Close() // what is accepted is not to be carried out
		for _, state := range machine.States() {
			for verb, ask := range asks {
				p.set(func(m *asset.Machine) { m.Status, m.Lock, m.Dirty = machine.Status{State: state}, "", true })
				a, admit, err := ask(p.deploy)
				if err != nil {
					t.Fatal(err)
				}
				_, err = p.book.Accept(t.Context(), a, admit)
				want := strings.Contains(" "+allowed[state]+" ", " "+verb+" ")
				var refusal *Refusal
				if want != (err == nil) || err != nil && !errors.As(err, &refusal) {
					t.Errorf("%s of a machine that is %s: %v", verb, state, err)
				}
				if m := p.machine(); err != nil && (m.Lock != "" || m.Status.State != state) {
					t.Errorf("%s of a machine that is %s was refused and left it %s, lock %q", verb, state, m.Status.State, m.Lock)
				}
			}
		}
	})
}

func TestAskRefused(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		var refusal *Refusal
		for name, err := range map[string]error{
			"unknown image": second(p.deploy.AskDeploy(t.Context(), "m1", Spec{Image: "windows"})),
			"bad spec":      second(p.deploy.AskDeploy(t.Context(), "m1", Spec{Image: "debian", Hostname: "a b"})),
			"rescue nobody": second(p.deploy.AskRescue("m1", RescueSpec{})),
			"rescue no key": second(p.deploy.AskRescue("m1", RescueSpec{SSHKeys: []string{"x"}})),
		} {
			if !errors.As(err, &refusal) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := second(p.deploy.AskDeploy(t.Context(), "m9", Spec{Image: "debian"})); !errors.Is(err, asset.ErrNotFound) {
			t.Errorf("a machine of nowhere: %v", err)
		}
	})
}

func second(_ change.Ask, _ change.Admit, err error) error { return err }

// TestAskedTwice: the same key is the same request, also when the first is well
// under way or has ended.
func TestAskedTwice(t *testing.T) {
	inPod(t, func(t *testing.T, p *pod) {
		ask := func() change.Request {
			a, admit, err := p.deploy.AskDeploy(t.Context(), "m1", Spec{Image: "debian", SSHKeys: []string{userKey}})
			if err != nil {
				t.Fatal(err)
			}
			a.Key = "k"
			return p.submit(a, admit)
		}
		first := ask()
		synctest.Wait()
		p.under(first, firmwareTime+phaseTime)
		if again := ask(); again.ID != first.ID {
			t.Errorf("asked again while it is written: request %s, want %s", again.ID, first.ID)
		}
		p.wantEnd(p.await(first.ID), change.Done, "")
		if again := ask(); again.ID != first.ID {
			t.Errorf("asked again when it was done: request %s, want %s", again.ID, first.ID)
		}
		p.wantMachine(machine.Active)
	})
}
