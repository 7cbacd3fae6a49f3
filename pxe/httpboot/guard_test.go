package httpboot

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestGuard: who asks for the boot server's address is let through; a page
// that a browser shows is not, under whatever name it came to us.
func TestGuard(t *testing.T) {
	h := Guard(netip.MustParseAddr("10.0.0.1"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for _, c := range []struct {
		host, header, value string
		want                int
	}{
		{host: "10.0.0.1:8067", want: 200},
		{host: "10.0.0.1", want: 200}, // EDK2 leaves the port out
		{host: "", want: 200},
		{host: "evil.example:8067", want: 421},
		{host: "evil.example", want: 421},
		{host: "10.0.0.2:8067", want: 421},
		{host: "10.0.0.1:8067", header: "Origin", value: "http://evil.example", want: 403},
		{host: "10.0.0.1:8067", header: "Sec-Fetch-Site", value: "cross-site", want: 403},
		{host: "10.0.0.1:8067", header: "Sec-Fetch-Site", value: "same-origin", want: 403},
	} {
		r := httptest.NewRequest("GET", "/boot/52-54-00-00-00-01.ipxe", nil)
		r.Host = c.host
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("Host %q, %s %q: %d, want %d", c.host, c.header, c.value, w.Code, c.want)
		}
	}
}
