package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// guard refuses what a browser was tricked into sending: requests from another
// site's page, and requests under a name that is not this host's (DNS
// rebinding). It also bounds what pages may do.
func guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "this request comes from another site's page")
	}))
	protected := origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localName(r.Host) && r.TLS == nil {
			writeProblem(w, http.StatusMisdirectedRequest, fmt.Sprintf("host %q is not this appliance; use localhost", r.Host))
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		protected.ServeHTTP(w, r)
	})
}

func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || host == "gantry" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

type callerKey struct{}

// rootKey is of contexts of calls by root, over the socket.
type rootKey struct{}

// byRoot says whether root on the appliance asks, who can read its files anyway.
func byRoot(ctx context.Context) bool {
	root, _ := ctx.Value(rootKey{}).(bool)
	return root
}

// caller says who asks: the user at the other end of the socket, or the name of
// the token.
func caller(ctx context.Context) string {
	if who, ok := ctx.Value(callerKey{}).(string); ok {
		return who
	}
	return "unknown"
}

// UnixContext is for http.Server.ConnContext on the Unix socket: it notes which
// user is at the other end (SO_PEERCRED, unix(7)).
func UnixContext(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	who, root := "unknown", false
	// An error leaves the caller unknown, which is what the record then says.
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		root = cred.Uid == 0
		who = "uid " + strconv.Itoa(int(cred.Uid))
		if u, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
			who = u.Username
		}
	})
	return context.WithValue(context.WithValue(ctx, callerKey{}, who), rootKey{}, root)
}

// Tokens are the bearer tokens that may use the API over TLS: the SHA-256 of
// each, and whose it is.
type Tokens map[[32]byte]string

// ReadTokens reads a file of lines "NAME SHA256-HEX"; # begins a comment. The
// tokens themselves are nowhere on the appliance.
func ReadTokens(path string) (Tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	defer f.Close()
	t := Tokens{}
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		sum, err := hex.DecodeString(fields[len(fields)-1])
		if len(fields) != 2 || err != nil || len(sum) != 32 {
			return nil, fmt.Errorf("tokens: %s line %d: want NAME and the token's SHA-256 in hex", path, n)
		}
		if [32]byte(sum) == sha256.Sum256(nil) {
			return nil, fmt.Errorf("tokens: %s line %d: this is the SHA-256 of nothing, which everybody has", path, n)
		}
		t[[32]byte(sum)] = fields[0]
	}
	return t, errors.Join(s.Err())
}

// Require lets only holders of a token through; it is for the TLS listener.
func (t Tokens) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		who, ok := t[sha256.Sum256([]byte(token))]
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="gantry"`)
			writeProblem(w, http.StatusUnauthorized, "this needs a token: Authorization: Bearer TOKEN")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
	})
}
