package wire

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// arpRequest is an ARP request from 52:54:00:12:34:56, 10.77.0.42.
const arpRequest = "ffffffffffff 525400123456 0806" +
	"0001 0800 06 04 0001 525400123456 0a4d002a 000000000000 0a4d0001"

// discover is the start of a DHCPDISCOVER from the same address.
var discover = "ffffffffffff 525400123456 0800" +
	"45000148 00000000 4011 0000 00000000 ffffffff" + "0044 0043 0134 0000" +
	"01010600 12345678" + strings.Repeat("00", 20) + "525400123456" + strings.Repeat("00", 202+4)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseARP(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		ok          bool
	}{
		{name: "request", frame: arpRequest, ok: true},
		{name: "probe", frame: strings.Replace(arpRequest, "0a4d002a", "00000000", 1)},
		{name: "truncated", frame: arpRequest[:len(arpRequest)-2]},
		{name: "IPv6 addresses", frame: strings.Replace(arpRequest, "06 04", "06 10", 1)},
		{name: "no ARP", frame: strings.Replace(arpRequest, "0806", "0800", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			mac, ip, ok := parseARP(unhex(t, c.frame))
			if ok != c.ok {
				t.Fatalf("ok = %v", ok)
			}
			if ok && (ip.String() != "10.77.0.42" || mac != [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}) {
				t.Errorf("got %x, %v", mac, ip)
			}
		})
	}
}

func TestParseDHCPClient(t *testing.T) {
	if chaddr, ok := parseDHCPClient(unhex(t, discover)); !ok || chaddr != [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56} {
		t.Errorf("discover: %x, %v", chaddr, ok)
	}
	whole := unhex(t, discover)
	for name, change := range map[string]func(frame []byte) []byte{
		"a reply":               func(f []byte) []byte { f[42] = 2; return f },
		"to another port":       func(f []byte) []byte { f[37] = 53; return f },
		"truncated":             func(f []byte) []byte { return f[:277] },
		"header longer than it": func(f []byte) []byte { f[14] = 0x4f; return f[:278] },
		"no IPv4":               func(f []byte) []byte { f[14] = 0x65; return f },
	} {
		if _, ok := parseDHCPClient(change(slices.Clone(whole))); ok {
			t.Errorf("%s was taken for a request", name)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(unhex(f, arpRequest))
	f.Add(unhex(f, discover))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, ip, ok := parseARP(frame); ok && !ip.Is4() {
			t.Errorf("ARP with address %v", ip)
		}
		parseDHCPClient(frame)
	})
}
