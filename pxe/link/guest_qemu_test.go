//go:build qemu

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tagged case needs a kernel with 802.1Q. This file makes one: the test's
// own binary becomes /init of an initramfs, boots in QEMU with Debian's stock
// kernel, and runs TestGuestVLAN there.

// modules are what the guest loads, in order, before and for 802.1Q.
func modules() (wire, vlan []string) {
	return []string{"drivers/net/veth.ko"},
		[]string{"net/llc/llc.ko", "net/802/stp.ko", "net/802/garp.ko", "net/802/mrp.ko", "net/8021q/8021q.ko"}
}

const passed = "GUEST-TESTS-PASSED"

// TestMain is the guest's PID 1 there, and nothing special here.
func TestMain(m *testing.M) {
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	code := 1
	if err := prepareGuest(); err != nil {
		fmt.Println("guest:", err)
	} else if code = m.Run(); code == 0 {
		fmt.Println(passed)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func prepareGuest() error {
	return errors.Join(
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("sys", "/sys", "sysfs", 0, ""),
	)
}

func load(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		f, err := os.Open("/modules/" + filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			t.Fatalf("load %s: %v", name, err)
		}
		f.Close()
	}
}

// TestTagged boots the guest and requires that its tests have passed.
func TestTagged(t *testing.T) {
	if os.Getpid() == 1 {
		return
	}
	dir := t.TempDir()
	kernel, initramfs := guestKernel(t), filepath.Join(dir, "initramfs")
	buildInitramfs(t, kernel, initramfs)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	vmlinuz, err := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if err != nil || len(vmlinuz) != 1 {
		t.Fatalf("kernels in %s: %v, %v", kernel, vmlinuz, err)
	}
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
		"-kernel", vmlinuz[0], "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1 -- -test.v -test.run=^TestGuestVLAN$").CombinedOutput()
	t.Logf("guest:\n%s", out)
	if err != nil || !bytes.Contains(out, []byte(passed)) || !bytes.Contains(out, []byte("--- PASS: TestGuestVLAN")) {
		t.Fatalf("the guest's tests have not passed (%v)", err)
	}
}

// guestKernel unpacks Debian's kernel where the netboot build does, once.
func guestKernel(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSpace(string(out))
	cache := os.Getenv("GANTRY_CACHE")
	if cache == "" {
		cache = filepath.Join(module, "build/cache")
	}
	dir := filepath.Join(cache, "kernel")
	if out, err := exec.CommandContext(t.Context(), "sh", filepath.Join(module, "netboot/build/fetch-kernel.sh"), dir).CombinedOutput(); err != nil {
		t.Fatalf("fetch-kernel.sh: %v\n%s", err, out)
	}
	return filepath.Join(dir, "root")
}

// buildInitramfs packs this package's test, built statically, as /init.
func buildInitramfs(t *testing.T, kernel, to string) {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "qemu", "-o", init, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build guest: %v\n%s", err, out)
	}
	records := []cpio.Record{cpio.Directory("proc", 0o755), cpio.Directory("sys", 0o755), cpio.Directory("dev", 0o755),
		cpio.Directory("tmp", 0o777), cpio.Directory("modules", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1)}
	add := func(name, from string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, cpio.StaticFile(name, string(b), 0o755))
	}
	add("init", init)
	wire, vlan := modules()
	for _, m := range append(wire, vlan...) {
		found, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*/kernel", m))
		if err != nil || len(found) != 1 {
			t.Fatalf("module %s: %v, %v", m, found, err)
		}
		add("modules/"+filepath.Base(m), found[0])
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := errors.Join(cpio.WriteRecords(w, records), cpio.WriteTrailer(w)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGuestVLAN runs in the guest, as root of a machine of its own.
func TestGuestVLAN(t *testing.T) {
	if os.Getpid() != 1 {
		return // TestTagged boots the guest that runs it
	}
	wire, vlan := modules()
	load(t, wire)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "trunk"
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}))
	far, err := netlink.LinkByName("far")
	must(err)
	must(netlink.LinkSetUp(far))
	spec := Spec{Parent: "trunk", VLAN: 40, Address: netip.MustParsePrefix("10.9.0.1/24"), MTU: 1400}

	if _, err := Ensure(t.Context(), spec); !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "modprobe 8021q") {
		t.Fatalf("without 8021q: %v", err)
	}
	load(t, vlan)

	l, err := Ensure(t.Context(), spec)
	must(err)
	if l.Name != "trunk.40" || !l.Ours || l.MTU != 1400 || !l.Carrier || addresses(t, "trunk.40") != "10.9.0.1/24" {
		t.Errorf("%+v, addresses %q", l, addresses(t, "trunk.40"))
	}
	if again, err := Ensure(t.Context(), spec); err != nil || len(again.Changes) != 0 || again.Index != l.Index {
		t.Errorf("again: %+v, %v", again, err)
	}
	if tag := tagOnWire(t, far.Attrs().Index); tag != 40 {
		t.Errorf("frames carry the tag %d, want 40", tag)
	}

	s := watch(t, spec)
	s.next("the first state", func(s State) bool { return s.Err == nil })
	for range 3 { // deleted again and again, it is made again
		l, err := netlink.LinkByName("trunk.40")
		must(err)
		must(netlink.LinkDel(l))
		st := s.next("the VLAN's return", changed("created VLAN 40 of trunk"))
		if st.Err != nil || !st.Link.Ours || addresses(t, "trunk.40") != "10.9.0.1/24" {
			t.Errorf("after a deletion: %+v", st)
		}
	}
	trunk, err := netlink.LinkByName("trunk")
	must(err)
	must(netlink.LinkSetDown(trunk))
	s.next("the parent up again", changed("set trunk up"))
	must(netlink.LinkSetDown(far))
	s.next("the lost carrier", func(s State) bool { return s.Err == nil && !s.Link.Carrier })
	must(netlink.LinkSetUp(far))
	s.next("the carrier", func(s State) bool { return s.Err == nil && s.Link.Carrier })

	other := Spec{Parent: "trunk", VLAN: 41, Address: netip.MustParsePrefix("10.8.0.1/24")}
	foreign := netlink.NewLinkAttrs()
	foreign.Name, foreign.ParentIndex = "trunk.41", trunk.Attrs().Index
	must(netlink.LinkAdd(&netlink.Vlan{LinkAttrs: foreign, VlanId: 41}))
	_, err = Ensure(t.Context(), other)
	must(err)
	must(Remove(t.Context(), other))
	if _, err := netlink.LinkByName("trunk.41"); err != nil || addresses(t, "trunk.41") != "" {
		t.Errorf("an administrator's VLAN was removed, or our address was left: %v", err)
	}
	if _, err := Ensure(t.Context(), Spec{Parent: "trunk", VLAN: 4000, Address: other.Address, MTU: 9000}); err == nil || !strings.Contains(err.Error(), "MTU of trunk") {
		t.Errorf("an MTU beyond the parent's: %v", err)
	}
	foreign.Name = "trunk.42" // the name, but another tag
	must(netlink.LinkAdd(&netlink.Vlan{LinkAttrs: foreign, VlanId: 43}))
	if _, err := Ensure(t.Context(), Spec{Parent: "trunk", VLAN: 42, Address: other.Address}); err == nil || !strings.Contains(err.Error(), "is not VLAN 42") {
		t.Errorf("another's interface of our name: %v", err)
	}
}

// tagOnWire sends something through the VLAN and returns the tag that its
// frames carry on the far end, as a packet socket's auxiliary data tells it.
func tagOnWire(t *testing.T, far int) uint16 {
	t.Helper()
	proto := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: far}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", "10.9.0.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 2048), make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
		if err != nil {
			t.Fatalf("no ARP frame on the far end: %v", err)
		}
		if n < 14 || buf[12] != 0x08 || buf[13] != 0x06 { // ARP
			continue
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs { // struct tpacket_auxdata: vlan_tci is at 16
			if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 18 {
				return (uint16(m.Data[16]) | uint16(m.Data[17])<<8) & 0xfff
			}
		}
	}
}
