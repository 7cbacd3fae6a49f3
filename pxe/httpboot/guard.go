package httpboot

import (
	"net"
	"net/http"
	"net/netip"
)

// Guard keeps web pages away from a boot server at addr: a request for another
// host's name is answered 421 (a page that was rebound to us, RFC 9110,
// 15.5.20), and one that a browser made for a page 403. Firmware, iPXE and the
// agent ask for the address and send neither Origin nor Sec-Fetch-Site. The
// port is not looked at, as some firmware leaves it out of Host; a request of
// HTTP/1.0 may have no Host.
func Guard(addr netip.Addr, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		switch {
		case host != "" && host != addr.String():
			http.Error(w, "this is the boot server at "+addr.String(), http.StatusMisdirectedRequest)
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			http.Error(w, "the boot server is not for web pages", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
