package tftp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rrq is a read request with its strings joined by NULs.
func rrq(fields ...string) []byte {
	return []byte("\x00\x01" + strings.Join(fields, "\x00") + "\x00")
}

func TestParseRequest(t *testing.T) {
	endless := make([]string, 0, 200)
	endless = append(endless, "f", "octet")
	for len(endless) < 200 {
		endless = append(endless, "optionname"+strings.Repeat("x", len(endless)%7), "1")
	}
	for _, tc := range []struct {
		name   string
		packet []byte
		want   request
		code   int // of the *Error; -1: none, -2: not to be answered
	}{
		{"plain", rrq("a/b.efi", "octet"), request{name: "a/b.efi"}, -1},
		{"mode in capitals", rrq("f", "NetASCII"), request{name: "f", ascii: true}, -1},
		{"options", rrq("f", "octet", "BlkSize", "1468", "tsize", "0"),
			request{name: "f", options: []option{{"blksize", "1468"}, {"tsize", "0"}}}, -1},
		{"padding of NULs", append(rrq("f", "octet"), 0, 0, 0), request{name: "f"}, -1},
		{"empty", nil, request{}, -2},
		{"one byte", []byte{0}, request{}, -2},
		{"an ACK", []byte{0, 4, 0, 1}, request{}, -2},
		{"an ERROR", []byte{0, 5, 0, 1, 'x', 0}, request{}, -2},
		{"a write", []byte("\x00\x02f\x00octet\x00"), request{}, int(CodeAccess)},
		{"no strings", []byte{0, 1}, request{}, int(CodeIllegal)},
		{"no name", rrq("", "octet"), request{}, int(CodeIllegal)},
		{"no mode", rrq("f"), request{}, int(CodeIllegal)},
		{"not terminated", []byte("\x00\x01f\x00octet"), request{}, int(CodeIllegal)},
		{"mail mode", rrq("f", "mail"), request{}, int(CodeIllegal)},
		{"option without value", rrq("f", "octet", "tsize"), request{}, int(CodeNegotiation)},
		{"option twice", rrq("f", "octet", "tsize", "0", "TSIZE", "1"), request{}, int(CodeNegotiation)},
		{"endless options", rrq(endless...), request{}, int(CodeIllegal)},
		{"longer than a request may be", rrq(strings.Repeat("a", 600), "octet"), request{}, int(CodeIllegal)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseRequest(tc.packet)
			var refusal *Error
			switch {
			case tc.code == -1 && err != nil:
				t.Fatal(err)
			case tc.code == -2 && !errors.Is(err, errNotRequest):
				t.Fatalf("error %v, want one that is not answered", err)
			case tc.code >= 0 && (!errors.As(err, &refusal) || int(refusal.Code) != tc.code):
				t.Fatalf("error %v, want code %d", err, tc.code)
			case tc.code == -1:
				if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(request{}, option{})); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(rrq("f", "octet", "blksize", "1468", "windowsize", "64", "tsize", "0", "timeout", "3"))
	f.Add(rrq("../../etc/passwd", "netascii"))
	f.Add([]byte("\x00\x02f\x00octet\x00"))
	f.Add([]byte{0, 1, 0, 0, 0, 0})
	f.Add(rrq("f", "octet", "blksize", "99999999999999999999"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRequest(p)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) && !errors.Is(err, errNotRequest) {
				t.Fatalf("error %v is neither answered nor ignored", err)
			}
			return
		}
		if r.name == "" || strings.ContainsRune(r.name, 0) {
			t.Fatalf("name %q", r.name)
		}
		terms := negotiate(r.options, bounds{block: 1468, window: 64, bytes: pageBytes, size: 1 << 40})
		if terms.block < minBlock || terms.block > 1468 || terms.window < 1 || terms.window > 64 ||
			terms.window*(terms.block+headerLen) > pageBytes && terms.window > 1 {
			t.Fatalf("terms %+v out of bounds", terms)
		}
		oack := appendOAck(nil, terms.accept)
		if len(oack) > maxRequest || bytes.Count(oack[2:], []byte{0}) != 2*len(terms.accept) {
			t.Fatalf("OACK %q", oack)
		}
	})
}
