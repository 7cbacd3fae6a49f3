package boot

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	mac    = net.HardwareAddr{0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc}
	addr   = netip.MustParseAddr("10.67.0.1")
	server = Server{Addr: addr, HTTPPort: 8080}
)

const script = "http://10.67.0.1:8080/boot/52-54-00-aa-bb-cc.ipxe"

// TestDecide is the specification of the boot decision: who asks, and what it
// is told.
func TestDecide(t *testing.T) {
	pxe := func(a Arch) Client { return Client{MAC: mac, PXEClient: true, Arch: a, HasArch: true} }
	http := func(a Arch) Client { return Client{MAC: mac, HTTPClient: true, Arch: a, HasArch: true} }
	ipxe := func(c Client) Client { c.IPXE = true; return c }
	tftp := func(file string) Answer { return Answer{File: file, NextServer: addr, Class: "PXEClient"} }
	url := func(file string) Answer {
		return Answer{File: "http://10.67.0.1:8080/boot/loader/" + file, NextServer: addr, Class: "HTTPClient"}
	}
	toScript := Answer{File: script, NextServer: addr, NoProxyDHCP: true}
	nothing := Answer{}
	shim := Server{Addr: addr, HTTPPort: 8080, ShimUEFI64: "shimx64.efi", ShimUEFIARM64: "shimaa64.efi"}
	own := Server{Addr: addr, BIOS: "b.kpxe", UEFI64: "x.efi", UEFIARM64: "a.efi"}

	for _, row := range []struct {
		who    string
		client Client
		want   Want
		server Server
		told   Answer
		reason string
	}{
		// Firmware, each kind: its loader.
		{"BIOS PXE", pxe(ArchBIOS), WantScript, server, tftp("undionly.kpxe"), "x86 BIOS firmware: loader by TFTP"},
		{"BIOS PXE, no option 93", Client{MAC: mac, PXEClient: true}, WantScript, server, tftp("undionly.kpxe"), "x86 BIOS firmware: loader by TFTP"},
		{"UEFI x64 PXE", pxe(ArchX64), WantScript, server, tftp("snponly.efi"), "x64 UEFI firmware: loader by TFTP"},
		{"UEFI x64 PXE, old firmware", pxe(ArchEBC), WantScript, server, tftp("snponly.efi"), "x64 UEFI (EBC) firmware: loader by TFTP"},
		{"UEFI arm64 PXE", pxe(ArchARM64), WantScript, server, tftp("snponly-arm64.efi"), "arm64 UEFI firmware: loader by TFTP"},
		{"UEFI x64 HTTP", http(ArchX64HTTP), WantScript, server, url("snponly.efi"), "x64 UEFI HTTP firmware: loader by HTTP"},
		{"UEFI arm64 HTTP", http(ArchARM64HTTP), WantScript, server, url("snponly-arm64.efi"), "arm64 UEFI HTTP firmware: loader by HTTP"},
		{"UEFI x64 HTTP class, PXE arch", http(ArchX64), WantScript, server, url("snponly.efi"), "x64 UEFI firmware: loader by HTTP"},

		// iPXE, whatever brought it: the script, by HTTP, at once.
		{"iPXE on BIOS", ipxe(pxe(ArchBIOS)), WantScript, server, toScript, "iPXE: the machine's script"},
		{"iPXE on UEFI x64", ipxe(pxe(ArchX64)), WantScript, server, toScript, "iPXE: the machine's script"},
		{"iPXE on UEFI arm64", ipxe(pxe(ArchARM64)), WantScript, server, toScript, "iPXE: the machine's script"},
		{"iPXE by HTTP boot", ipxe(http(ArchX64HTTP)), WantScript, server, toScript, "iPXE: the machine's script"},
		{"iPXE, nothing else said", ipxe(Client{MAC: mac}), WantScript, server, toScript, "iPXE: the machine's script"},

		// The operator's loaders; Secure Boot.
		{"own BIOS loader", pxe(ArchBIOS), WantScript, own, tftp("b.kpxe"), "x86 BIOS firmware: loader by TFTP"},
		{"own x64 loader, port 80", http(ArchX64HTTP), WantScript, own,
			Answer{File: "http://10.67.0.1:80/boot/loader/x.efi", NextServer: addr, Class: "HTTPClient"}, "x64 UEFI HTTP firmware: loader by HTTP"},
		{"own arm64 loader", pxe(ArchARM64), WantScript, own, tftp("a.efi"), "arm64 UEFI firmware: loader by TFTP"},
		{"Secure Boot x64", pxe(ArchX64), WantScript, shim, tftp("shimx64.efi"), "x64 UEFI firmware: loader by TFTP"},
		{"Secure Boot x64 HTTP", http(ArchX64HTTP), WantScript, shim, url("shimx64.efi"), "x64 UEFI HTTP firmware: loader by HTTP"},
		{"Secure Boot arm64", pxe(ArchARM64), WantScript, shim, tftp("shimaa64.efi"), "arm64 UEFI firmware: loader by TFTP"},
		{"BIOS beside Secure Boot", pxe(ArchBIOS), WantScript, shim, tftp("undionly.kpxe"), "x86 BIOS firmware: loader by TFTP"},

		// Nothing about booting.
		{"an installed system", Client{MAC: mac}, WantScript, server, nothing, "not network-booting: an installed system's DHCP client"},
		{"not ours, BIOS", pxe(ArchBIOS), WantNothing, server, nothing, "the machine is not ours to boot"},
		{"not ours, iPXE", ipxe(pxe(ArchX64)), WantNothing, server, nothing, "the machine is not ours to boot"},
		{"UEFI x86, 32 bits", pxe(ArchIA32), WantScript, server, nothing, "no loader for x86 UEFI"},
		{"RISC-V", pxe(ArchRISCV64), WantScript, server, nothing, "no loader for riscv64 UEFI"},
		{"an unknown architecture", pxe(4711), WantScript, server, nothing, "no loader for architecture 4711"},
		{"HTTP without architecture", Client{MAC: mac, HTTPClient: true}, WantScript, server, nothing, "HTTP boot without an architecture (option 93): no loader can be chosen"},
		{"HTTP class from a BIOS", http(ArchBIOS), WantScript, server, nothing, "HTTP boot of x86 BIOS: only UEFI firmware has it"},
		{"no server address", pxe(ArchBIOS), WantScript, Server{}, nothing, "no boot server address is configured here"},
	} {
		t.Run(row.who, func(t *testing.T) {
			got := Decide(row.client, row.want, row.server)
			row.told.Reason = row.reason
			if d := cmp.Diff(row.told, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Errorf("Decide (-want +got):\n%s", d)
			}
			if got.Boots() != (row.told.File != "") {
				t.Errorf("Boots() = %v with File %q", got.Boots(), got.File)
			}
		})
	}
}

// FuzzDecide holds what must be true of any answer: the file and the next
// server come together, a class is only sent with a file, and no architecture
// is an exception.
func FuzzDecide(f *testing.F) {
	f.Add(uint16(0), true, true, false, false, true)
	f.Add(uint16(16), true, false, true, false, true)
	f.Add(uint16(7), true, true, false, true, false)
	f.Fuzz(func(t *testing.T, arch uint16, has, pxe, http, ipxe, ours bool) {
		w := WantNothing
		if ours {
			w = WantScript
		}
		a := Decide(Client{MAC: mac, Arch: Arch(arch), HasArch: has, PXEClient: pxe, HTTPClient: http, IPXE: ipxe}, w, server)
		if a.Reason == "" {
			t.Error("no reason")
		}
		if a.Boots() != a.NextServer.IsValid() {
			t.Errorf("file %q with next server %v", a.File, a.NextServer)
		}
		if !a.Boots() && (a.Class != "" || a.NoProxyDHCP) {
			t.Errorf("boot options without a file: %+v", a)
		}
		if a.Boots() && (!ours || !(pxe || http || ipxe)) {
			t.Errorf("told to boot unasked: %+v", a)
		}
	})
}

func TestScriptPath(t *testing.T) {
	p := ScriptPath(mac)
	if p != "/boot/52-54-00-aa-bb-cc.ipxe" {
		t.Fatalf("ScriptPath = %q", p)
	}
	got, err := ParseScriptPath(p)
	if err != nil || got.String() != mac.String() {
		t.Fatalf("ParseScriptPath = %v, %v", got, err)
	}
	for _, bad := range []string{"", "/", "/boot/", "/boot/.ipxe", "52-54-00-aa-bb-cc.ipxe", "/boot/52-54-00-AA-BB-CC.ipxe",
		"/boot/52:54:00:aa:bb:cc.ipxe", "/boot/52-54-00-aa-bb.ipxe", "/boot/52-54-00-aa-bb-cc-dd-ee.ipxe",
		"/boot/52-54-00-aa-bb-cc", "/boot/../52-54-00-aa-bb-cc.ipxe", "/boot/525400aabbcc.ipxe"} {
		if got, err := ParseScriptPath(bad); err == nil {
			t.Errorf("ParseScriptPath(%q) = %v, want an error", bad, got)
		}
	}
}

func FuzzParseScriptPath(f *testing.F) {
	f.Add("/boot/52-54-00-aa-bb-cc.ipxe")
	f.Add("/boot/52:54:00:aa:bb:cc.ipxe")
	f.Add("/boot/../../etc/passwd")
	f.Fuzz(func(t *testing.T, path string) {
		if m, err := ParseScriptPath(path); err == nil && ScriptPath(m) != path {
			t.Errorf("%q parsed as %v, whose path is %q", path, m, ScriptPath(m))
		}
	})
}
