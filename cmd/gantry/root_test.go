package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"
)

// gantry runs a command line and returns its exit code and what it printed.
func gantry(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), newApp(strings.NewReader(""), &out, &err), args)
	return code, out.String(), err.String()
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"frobnicate", `unknown command "frobnicate"`},
		{"labs", "did you mean lab?"},
		{"lab statsu", "did you mean status?"},
		{"lab fault gremlins m1", `unknown command "gremlins"`},
		{"lab status --nonsense", "--nonsense"},
		{"lab status -o xml", "want table, json or yaml"},
		{"lab console", "usage: gantry lab console MACHINE"},
		{"lab power on two", "want a number"},
		{"lab appliance dance", "want one of [start restart kill]"},
		{"lab up --machines 0", "want 1 to 48"},
		{"lab up --firmware coreboot", "want bios, uefi or mixed"},
		{"lab up --name UPPER", "want 1 to 8 of a-z and 0-9"},
		{"lab up --config /nonexistent", "/nonexistent"},
		{"status x", "usage: gantry status"},
		{"machine list x", "usage: gantry machine list"},
		{"machine maintain m1", "usage: gantry machine maintain MACHINE REASON"},
		{"machine deploy m1 --ssh-key ssh-rsa", "no image"},
		{"machine accept m1 --key k", "--key"},
		{"image import f", `"name"`},
		{"pdu list x", "usage: gantry pdu list"},
		{"request list x", "usage: gantry request list"},
		{"alert list x", "usage: gantry alert list"},
		{"status --server appliance:7443", "want a URL"},
		{"status --server https://a --ca-file /nonexistent", "/nonexistent"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, _, stderr := gantry(t, strings.Fields(c.args)...)
			if code != exitUsage || !strings.Contains(stderr, c.says) {
				t.Errorf("exit code %d, %q; want %d and %q", code, stderr, exitUsage, c.says)
			}
		})
	}
}

func TestHelpNamesExitCodes(t *testing.T) {
	code, stdout, _ := gantry(t, "--help")
	if code != exitOK || !strings.Contains(stdout, "130  interrupted") {
		t.Errorf("exit code %d, help:\n%s", code, stdout)
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := gantry(t, "--version"); code != exitOK || stdout != "gantry version "+version+"\n" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

func TestLabThatIsNotUp(t *testing.T) {
	for _, command := range []string{"status", "power", "plug m1", "kill m1", "fault clear", "console m1", "appliance restart"} {
		args := append([]string{"lab", "--name", "nosuch"}, strings.Fields(command)...)
		code, _, stderr := gantry(t, args...)
		if code != exitUnreachable || !strings.Contains(stderr, "gantry lab up") {
			t.Errorf("%s: exit code %d, %q", command, code, stderr)
		}
	}
}

func TestExitCode(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	dial := &net.OpError{Op: "dial", Err: fs.ErrNotExist}
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"nothing", t.Context(), nil, exitOK},
		{"anything", t.Context(), errors.New("broken"), exitFailed},
		{"coded", t.Context(), fmt.Errorf("deploy: %w", withCode(exitRefused, errors.New("busy"))), exitRefused},
		{"refused connection", t.Context(), fmt.Errorf("get: %w", syscall.ECONNREFUSED), exitUnreachable},
		{"no socket", t.Context(), fmt.Errorf("get: %w", dial), exitUnreachable},
		{"no file", t.Context(), fmt.Errorf("open: %w", fs.ErrNotExist), exitFailed},
		{"too late", t.Context(), fmt.Errorf("get: %w", context.DeadlineExceeded), exitUnreachable},
		{"interrupted", cancelled, fmt.Errorf("get: %w", context.Canceled), exitInterrupted},
		{"cancelled inside", t.Context(), fmt.Errorf("get: %w", context.Canceled), exitFailed},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
