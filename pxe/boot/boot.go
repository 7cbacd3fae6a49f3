// Package boot decides what a network-booting machine is told: one pure
// function from what the machine says of itself, what its pod wants of it and
// what this server offers, to the boot fields of a DHCP answer.
//
// The chain is always the same. Firmware of any kind is given a loader (iPXE);
// iPXE is given the machine's script by HTTP; the script, made at the moment it
// is fetched, chooses between the netboot agent and the local disk. So the
// decision stays on our side up to the last moment, and a machine's firmware is
// set to "network first" once and never touched again.
package boot

import (
	"net"
	"net/netip"
	"strconv"
)

// Option 60 (vendor class identifier) values by which firmware says that it is
// booting, and by which a server's answer says that it is about booting.
const (
	ClassPXE  = "PXEClient"  // PXE 2.1, section 2.2.1
	ClassHTTP = "HTTPClient" // UEFI 2.10, section 24.7.3
)

// Client is what a machine's DHCP packet says of the machine.
type Client struct {
	// MAC is the hardware address that it asks with (chaddr).
	MAC net.HardwareAddr
	// UUID is the machine's SMBIOS UUID (option 97) in canonical lower-case
	// text, or empty.
	UUID string
	// Arch is option 93's first architecture; it counts only if HasArch.
	Arch    Arch
	HasArch bool
	// PXEClient and HTTPClient tell the vendor class (option 60) that it sent.
	PXEClient, HTTPClient bool
	// IPXE says that iPXE is asking: user class (option 77) "iPXE", or iPXE's
	// encapsulated options (175).
	IPXE bool
}

// Want is what the pod wants a machine to do when it network-boots.
type Want int

const (
	// WantNothing is a machine that is not ours to boot: it may get an address,
	// and is told nothing about booting.
	WantNothing Want = iota
	// WantScript brings the machine to its script, which decides the rest.
	WantScript
)

// String returns "nothing" or "script".
func (w Want) String() string {
	if w == WantScript {
		return "script"
	}
	return "nothing"
}

// Server is what the answering appliance offers. The zero value of each field
// but Addr has a default.
type Server struct {
	// Addr is where machines reach TFTP and HTTP. Without it nothing is offered.
	Addr netip.Addr
	// HTTPPort is the boot HTTP server's port; 0 is 80.
	HTTPPort uint16
	// BIOS, UEFI64 and UEFIARM64 are the loaders' file names, under the TFTP
	// root and under [LoaderPrefix] alike. Defaults: undionly.kpxe, snponly.efi,
	// snponly-arm64.efi.
	BIOS, UEFI64, UEFIARM64 string
	// ShimUEFI64 and ShimUEFIARM64, where set, are named in place of the loader,
	// for machines with Secure Boot: the signed shim then loads the loader that
	// lies beside it. One boot file serves both kinds of machine, since a shim
	// also runs without Secure Boot.
	ShimUEFI64, ShimUEFIARM64 string
}

// Answer is the boot part of a DHCP answer. The zero value says nothing about
// booting.
type Answer struct {
	// File is the boot file: a TFTP name, or a URL for HTTP firmware and iPXE.
	File string
	// NextServer is the TFTP server (siaddr); invalid where File is empty.
	NextServer netip.Addr
	// Class is option 60 to send back: firmware ignores a boot file without it.
	// PXEClient also means option 43, suboption 6 = 8: boot this file and look
	// for no other boot server (PXE 2.1, table 2-1).
	Class string
	// NoProxyDHCP tells iPXE (option 175, suboption 176 = 1) not to wait three
	// seconds for a ProxyDHCP server.
	NoProxyDHCP bool
	// Reason says in words why the answer is what it is, for logs and status.
	Reason string
}

// Boots reports whether the answer tells the machine to boot something.
func (a Answer) Boots() bool { return a.File != "" }

// Decide returns what c is told about booting by s, when its pod wants w. It is
// pure: it reads its arguments only. Rows of its table test are its
// specification.
func Decide(c Client, w Want, s Server) Answer {
	switch {
	case !c.IPXE && !c.PXEClient && !c.HTTPClient:
		return Answer{Reason: "not network-booting: an installed system's DHCP client"}
	case w != WantScript:
		return Answer{Reason: "the machine is not ours to boot"}
	case !s.Addr.Is4():
		return Answer{Reason: "no boot server address is configured here"}
	case c.IPXE:
		return Answer{
			File:        s.url(ScriptPath(c.MAC)),
			NextServer:  s.Addr,
			NoProxyDHCP: true,
			Reason:      "iPXE: the machine's script",
		}
	}
	return firmware(c, s)
}

// firmware names the loader for a machine that is still in its firmware.
func firmware(c Client, s Server) Answer {
	http := c.HTTPClient || c.HasArch && c.Arch.HTTP()
	// A client that names no architecture predates RFC 4578: a BIOS.
	arch := ArchBIOS
	if c.HasArch {
		arch = c.Arch
	} else if http {
		return Answer{Reason: "HTTP boot without an architecture (option 93): no loader can be chosen"}
	}
	file := s.loader(arch)
	switch {
	case file == "":
		return Answer{Reason: "no loader for " + arch.String()}
	case http && !arch.UEFI():
		return Answer{Reason: "HTTP boot of " + arch.String() + ": only UEFI firmware has it"}
	case http:
		return Answer{File: s.url(LoaderPrefix + file), NextServer: s.Addr, Class: ClassHTTP,
			Reason: arch.String() + " firmware: loader by HTTP"}
	}
	return Answer{File: file, NextServer: s.Addr, Class: ClassPXE,
		Reason: arch.String() + " firmware: loader by TFTP"}
}

// loader returns the loader's file name for an architecture, or "".
func (s Server) loader(a Arch) string {
	switch a {
	case ArchBIOS:
		return first(s.BIOS, "undionly.kpxe")
	case ArchX64, ArchEBC, ArchX64HTTP, ArchEBCHTTP:
		return first(s.ShimUEFI64, s.UEFI64, "snponly.efi")
	case ArchARM64, ArchARM64HTTP:
		return first(s.ShimUEFIARM64, s.UEFIARM64, "snponly-arm64.efi")
	}
	return ""
}

// url returns the boot HTTP server's URL of a path.
func (s Server) url(path string) string {
	port := s.HTTPPort
	if port == 0 {
		port = 80
	}
	return "http://" + s.Addr.String() + ":" + strconv.Itoa(int(port)) + path
}

func first(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}
