package pid1

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestObey: what reboot(8), halt(8) and poweroff(8) send ends in that, and not
// in the end of the first process; a kernel that refuses is no end either.
func TestObey(t *testing.T) {
	asked := make(chan string)
	do := func(what string) func() error {
		return func() error {
			asked <- what
			return errors.New("refused")
		}
	}
	obey(t.Context(), Config{Log: slog.New(slog.DiscardHandler)}, do("restart"), do("off"))
	for _, tc := range []struct {
		signal unix.Signal
		want   string
	}{{unix.SIGTERM, "restart"}, {unix.SIGUSR2, "off"}, {unix.SIGUSR1, "off"}, {unix.SIGINT, "restart"}} {
		if err := unix.Kill(os.Getpid(), tc.signal); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != tc.want {
			t.Errorf("%v: %s, want %s", tc.signal, got, tc.want)
		}
	}
}

// TestSupervise: all that an agent wrote reaches the console and the last words,
// and how it ended is told.
func TestSupervise(t *testing.T) {
	for _, tc := range []struct{ script, want string }{
		{"echo out; echo err >&2; exit 3", "exit status 3"},
		{"echo out; echo err >&2; kill -9 $$", "killed by killed"},
		// A grandchild that goes on must not keep the end from being seen.
		{"echo out; echo err >&2; sleep 60 & exit 0", "exit status 0"},
	} {
		agent := t.TempDir() + "/agent"
		if err := os.WriteFile(agent, []byte("#!/bin/sh\n"+tc.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		out := &tail{max: 1 << 10}
		err := supervise(Config{Agent: agent, AgentName: "agent"}, out)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%q: %v, want %s", tc.script, err, tc.want)
		}
		if got := string(out.bytes()); got != "out\nerr\n" {
			t.Errorf("%q wrote %q", tc.script, got)
		}
	}
	if err := supervise(Config{Agent: "/nonexistent", AgentName: "agent"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "start the agent") {
		t.Errorf("an agent that cannot be started: %v", err)
	}
}

// TestTail: the last bytes are kept.
func TestTail(t *testing.T) {
	k := &tail{max: 8}
	for _, s := range []string{"one ", "two ", "three "} {
		if n, err := k.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := string(k.bytes()); got != "o three " {
		t.Errorf("kept %q", got)
	}
}
