package agent

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// TestHelloRefused presents a good token in every wrong way: each is refused
// with the reason, and where it may be somebody's mischief a person is told.
func TestHelloRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   string
		token  string // "" is the one that was issued
		change func(*job.Hello)
		want   string
		quiet  bool // no alert: there is no machine to raise it for
	}{
		{name: "from another address", from: "10.0.0.66:40000", want: "was given to 10.0.0.10"},
		{name: "from another MAC address", change: func(h *job.Hello) { h.BootMAC = "52:54:00:00:00:02" }, want: "was given to MAC address " + mac1},
		{name: "by another NIC of the machine", change: func(h *job.Hello) { h.BootMAC = "52:54:00:00:00:11" }, want: "was given to MAC address " + mac1},
		{name: "by another mainboard", change: func(h *job.Hello) { h.UUID = "99999999-2222-3333-4444-555555555555" }, want: "two machines with one MAC address"},
		{name: "by one that hides its UUID", change: func(h *job.Hello) { h.UUID = "" }, want: "two machines with one MAC address"},
		{name: "for another machine", change: func(h *job.Hello) { h.Machine = "m2" }, want: "not this machine's"},
		{name: "for no machine", change: func(h *job.Hello) { h.Machine = "nobody" }, want: "no such machine", quiet: true},
		{name: "without a token", token: " ", want: "not this machine's"},
		{name: "with a made up token", token: "AAAA", want: "not this machine's"},
		{name: "in another protocol", change: func(h *job.Hello) { h.Protocol = 99 }, want: "protocol 99", quiet: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				token, h, from := b.issue(), goodHello(), addr1
				if c.change != nil {
					c.change(&h)
				}
				if c.from != "" {
					from = c.from
				}
				if c.token != "" {
					token = strings.TrimSpace(c.token)
				}
				b.problem(b.call(t.Context(), "POST", "/agent/v1/hello", token, from, h), http.StatusForbidden, c.want)
				var want []string
				if !c.quiet {
					want = []string{h.Machine + " agent-refused"}
				}
				if !slices.Equal(b.alerts, want) {
					t.Errorf("alerts: %v, want %v", b.alerts, want)
				}
			})
		})
	}
}

// TestHelloMalformed sends what no agent says. Nothing of it may reach an alert.
func TestHelloMalformed(t *testing.T) {
	long := goodHello()
	long.Machine = strings.Repeat("x", 1000)
	sly := goodHello()
	sly.BootMAC = mac1 + "\r\nBcc: everyone"
	for name, body := range map[string]any{
		"empty":           "",
		"not JSON":        "hello",
		"two values":      `{"protocol":1}{"protocol":1}`,
		"oversized":       `{"agent":"` + strings.Repeat("x", maxHello) + `"}`,
		"machine no name": long,
		"MAC no MAC":      sly,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				status := http.StatusBadRequest
				if name == "oversized" {
					status = http.StatusRequestEntityTooLarge
				}
				b.problem(b.call(t.Context(), "POST", "/agent/v1/hello", b.issue(), addr1, body), status)
				if len(b.alerts) > 0 {
					t.Errorf("alerts: %v", b.alerts)
				}
			})
		})
	}
}

// TestTokenServesOneBoot follows a token: it lives ten minutes, may be shown
// again while the answer may have been lost, and is spent by the session's first
// call.
func TestTokenServesOneBoot(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		hello := func(token string) (int, string) {
			w := b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello())
			if w.Code != http.StatusOK {
				return w.Code, w.Body.String()
			}
			return w.Code, b.welcome(w)
		}
		first := b.issue()
		token := b.issue()
		if code, _ := hello(first); code != http.StatusForbidden {
			t.Errorf("a token that was replaced: %d", code)
		}
		time.Sleep(DefaultTimes().Token)
		_, lost := hello(token)
		code, session := hello(token) // the answer to the first was lost
		if code != http.StatusOK || session == lost {
			t.Fatalf("repeated hello: %d, new session %v", code, session != lost)
		}
		b.problem(b.next(lost, ""), http.StatusForbidden, "has ended")
		if id := b.gotJob(session, ""); id != "" {
			t.Errorf("got job %s, want none", id)
		}
		if code, why := hello(token); code != http.StatusForbidden || !strings.Contains(why, "used before") {
			t.Errorf("a spent token: %d %s", code, why)
		}
		if code, _ := hello(session); code != http.StatusForbidden {
			t.Errorf("a session as boot token: %d", code)
		}
		late := b.issue()
		time.Sleep(DefaultTimes().Token + time.Second)
		if code, why := hello(late); code != http.StatusForbidden || !strings.Contains(why, "expired") {
			t.Errorf("an expired token: %d %s", code, why)
		}
		if code, _ := hello(b.issue()); code != http.StatusOK {
			t.Errorf("a fresh token after it all: %d", code)
		}
	})
}

// TestTokensAreNotStored looks for the secrets in the store's files.
func TestTokensAreNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		token := b.issue()
		session := b.welcome(b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello()))
		b.close()
		for _, secret := range []string{token, session} {
			if inFiles(t, b.dir, secret) {
				t.Error("a token is in the store's files in clear")
			}
		}
		if !inFiles(t, b.dir, machine1) {
			t.Error("the search finds nothing at all")
		}
		b.open()
		b.close()
	})
}

// TestAnotherAgentEndsTheSession: when the machine boots again, whoever holds
// the old session is put out, also in the middle of a long poll.
func TestAnotherAgentEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		old := b.begin()
		done := make(chan int)
		began := time.Now()
		go func() { done <- b.next(old, "").Code }()
		synctest.Wait()
		time.Sleep(time.Second)
		fresh := b.begin()
		if code := <-done; code != http.StatusForbidden {
			t.Errorf("the old session's poll was answered %d", code)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("the old session's poll lasted %v", d)
		}
		for _, path := range []string{"/agent/v1/jobs/j/report", "/agent/v1/log"} {
			b.problem(b.call(t.Context(), "POST", path, old, addr1, "{}"), http.StatusForbidden, "has ended")
		}
		if id := b.gotJob(fresh, ""); id != "" {
			t.Errorf("got job %s", id)
		}
	})
}

// TestResetEndsTheSession: before its power is cut a machine's agent is
// forgotten, and its poll does not linger.
func TestResetEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session, token := b.begin(), b.issue()
		done := make(chan int)
		began := time.Now()
		go func() { done <- b.next(session, "").Code }()
		synctest.Wait()
		if err := b.service.Reset(t.Context(), machine1); err != nil {
			t.Fatal(err)
		}
		if code := <-done; code != http.StatusForbidden || time.Since(began) > time.Second {
			t.Errorf("the poll was answered %d after %v", code, time.Since(began))
		}
		b.problem(b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello()), http.StatusForbidden, "not this machine's")
	})
}
