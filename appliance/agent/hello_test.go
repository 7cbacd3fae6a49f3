package agent

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store/storetest"
)

// TestHelloRefused presents a good token in every wrong way: each is refused
// without a reason, which would tell a stranger what to say next time, and where
// it may be somebody's mischief a person is told.
func TestHelloRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   string
		token  string // "" is the one that was issued
		change func(*job.Hello)
		want   string // the answer's detail, if not "refused"
		quiet  bool   // no alert: there is no machine to raise it for
	}{
		{name: "from another address", from: "10.0.0.66:40000"},
		{name: "from another MAC address", change: func(h *job.Hello) { h.BootMAC = "52:54:00:00:00:02" }},
		{name: "by another NIC of the machine", change: func(h *job.Hello) { h.BootMAC = "52:54:00:00:00:11" }},
		{name: "by another mainboard", change: func(h *job.Hello) { h.UUID = "99999999-2222-3333-4444-555555555555" }},
		{name: "by one that hides its UUID", change: func(h *job.Hello) { h.UUID = "" }},
		{name: "for another machine", change: func(h *job.Hello) { h.Machine = "m2" }},
		{name: "for no machine", change: func(h *job.Hello) { h.Machine = "nobody" }, quiet: true},
		{name: "without a token", token: " "},
		{name: "with a made up token", token: "AAAA"},
		{name: "in another protocol", change: func(h *job.Hello) { h.Protocol = 99 }, want: "agent speaks protocol 99, this appliance 1: rebuild the netboot image: refused", quiet: true},
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
				w := b.call(t.Context(), "POST", "/agent/v1/hello", token, from, h)
				b.problem(w, http.StatusForbidden)
				if detail := `"detail":"` + cmp.Or(c.want, "refused") + `"`; !strings.Contains(w.Body.String(), detail) {
					t.Errorf("answered %s, want %s", w.Body, detail)
				}
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
		token := b.issue()
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
		if code, _ := hello(token); code != http.StatusForbidden {
			t.Errorf("a spent token: %d", code)
		}
		if code, _ := hello(session); code != http.StatusForbidden {
			t.Errorf("a session as boot token: %d", code)
		}
		late := b.issue()
		time.Sleep(DefaultTimes().Token + time.Second)
		if code, _ := hello(late); code != http.StatusForbidden {
			t.Errorf("an expired token: %d", code)
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
			if storetest.Holds(t, b.dir, secret) {
				t.Error("a token is in the store's files in clear")
			}
		}
		if !storetest.Holds(t, b.dir, machine1) {
			t.Error("the search finds nothing at all")
		}
		b.open()
		b.close()
	})
}

// TestNoTokenWhileAnAgentSpeaks: whoever asks for a script while a machine's agent
// works is not that machine; when the agent has been silent for long, it is, and
// also after a restart of the appliance, which knows of no word yet.
func TestNoTokenWhileAnAgentSpeaks(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		busy := func() bool {
			t.Helper()
			_, err := b.service.Issue(t.Context(), machine1, mac1, netip.MustParseAddrPort(addr1).Addr())
			if err != nil && !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
			return err != nil
		}
		session, silent := b.begin(), DefaultTimes().Lost/2
		for range 5 { // it polls
			b.next(session, "")
			time.Sleep(silent - DefaultTimes().Poll - time.Second)
			if !busy() {
				t.Fatal("a token was made while the agent polls")
			}
		}
		b.restart()
		if !busy() {
			t.Error("a token was made at once after the appliance's restart")
		}
		time.Sleep(silent)
		if busy() {
			t.Error("the machine got no token although its agent is silent")
		}
		if err := b.service.Reset(t.Context(), machine1); err != nil {
			t.Fatal(err)
		}
		b.begin()
		if err := b.service.Reset(t.Context(), machine1); err != nil {
			t.Fatal(err)
		}
		if busy() {
			t.Error("the machine got no token after its power was cut")
		}
	})
}

// TestSessionServesItsAddress: what a session is known by is of no use elsewhere.
func TestSessionServesItsAddress(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		const thief = "10.0.0.66:40000"
		for _, c := range [][2]string{{"GET", "/agent/v1/job"}, {"POST", "/agent/v1/jobs/j/report"}, {"POST", "/agent/v1/log"}} {
			b.problem(b.call(t.Context(), c[0], c[1], session, thief, "{}"), http.StatusForbidden, "has ended")
		}
		if id := b.gotJob(session, ""); id != "" {
			t.Errorf("got job %s", id)
		}
	})
}

// TestNextBootsTokenIsNotSpent: the last words of an agent do not spend the
// token that the machine's next one has fetched already.
func TestNextBootsTokenIsNotSpent(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		old := b.begin()
		token := b.issue()
		if w := b.call(t.Context(), "POST", "/agent/v1/log", old, addr1, "bye\n"); w.Code != http.StatusNoContent {
			t.Fatalf("log: %d %s", w.Code, w.Body)
		}
		if w := b.call(t.Context(), "POST", "/agent/v1/jobs/j/report", old, addr1, "{}"); w.Code != http.StatusOK {
			t.Fatalf("report: %d %s", w.Code, w.Body)
		}
		b.welcome(b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello()))
	})
}

// TestTwoAgents: when somebody shows a token or a session that another's took
// the place of, two were told to be the machine. Both are put out, the job fails
// for good, and a person is told; after a power cycle all is well.
func TestTwoAgents(t *testing.T) {
	for name, second := range map[string]func(b *bench) string{
		"by its token": func(b *bench) string {
			old := b.issue()
			session := b.begin()
			b.do(b.t.Context(), job.Job{ID: "j0", Kind: job.Inspect})
			synctest.Wait()
			b.problem(b.call(b.t.Context(), "POST", "/agent/v1/hello", old, addr1, goodHello()), http.StatusForbidden, "refused")
			return session
		},
		"by its session": func(b *bench) string {
			old := b.begin()
			session := b.begin()
			b.do(b.t.Context(), job.Job{ID: "j0", Kind: job.Inspect})
			synctest.Wait()
			b.problem(b.next(old, ""), http.StatusForbidden)
			return session
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				session := second(b)
				if want := []string{"m1 two-agents"}; !slices.Equal(b.alerts, want) {
					t.Errorf("alerts %v, want %v", b.alerts, want)
				}
				b.problem(b.next(session, ""), http.StatusForbidden)
				var p *job.Problem
				if o := <-b.do(t.Context(), job.Job{ID: "j0", Kind: job.Inspect}); !errors.As(o.err, &p) || p.Code != "two-agents" || p.Retry {
					t.Errorf("the job ended with %v", o.err)
				}
				if err := b.service.Reset(t.Context(), machine1); err != nil {
					t.Fatal(err)
				}
				if id := b.gotJob(b.begin(), ""); id != "" || len(b.alerts) != 1 {
					t.Errorf("after the power cycle: job %q, alerts %v", id, b.alerts)
				}
			})
		})
	}
}

// TestCallsAreBounded: an address that calls without end is told to wait, and
// nothing is recorded of it.
func TestCallsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		for _, path := range []string{"/agent/v1/hello", "/agent/v1/job"} {
			method := map[bool]string{true: "POST", false: "GET"}[path == "/agent/v1/hello"]
			codes := map[int]int{}
			for range 10 * callBurst {
				codes[b.call(t.Context(), method, path, "AAAA", addr1, goodHello()).Code]++
			}
			if codes[http.StatusForbidden] != callBurst || codes[http.StatusTooManyRequests] != 9*callBurst {
				t.Errorf("%s: answered %v", path, codes)
			}
		}
		if len(b.alerts) != callBurst {
			t.Errorf("%d alerts", len(b.alerts))
		}
		time.Sleep(time.Minute)
		b.begin()
	})
}

// TestResetEndsTheSession: before its power is cut a machine's agent is
// forgotten, and its poll does not linger.
func TestResetEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		token := b.issue()
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
		b.problem(b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello()), http.StatusForbidden)
	})
}
