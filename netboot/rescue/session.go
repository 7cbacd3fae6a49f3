package rescue

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Payloads of RFC 4254 6.2, 6.5 and 6.7.
type ptyRequest struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32
	Modes         string
}

type windowChange struct{ Columns, Rows, Width, Height uint32 }

type execRequest struct{ Command string }

// hangUpWithin is how long a session's program has to end when its client is gone.
const hangUpWithin = 10 * time.Second

// session runs one shell or command.
func (s *Server) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	var t *terminal
	defer func() {
		if t != nil {
			t.Close()
		}
	}()
	started := false
	ctx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	var wg sync.WaitGroup
	for r := range reqs {
		ok := false
		switch r.Type {
		case "pty-req":
			var p ptyRequest
			if ssh.Unmarshal(r.Payload, &p) == nil && t == nil {
				var err error
				if t, err = openTerminal(p.Term); err == nil {
					t.resize(p.Columns, p.Rows)
				}
				ok = err == nil
			}
		case "window-change":
			var w windowChange
			if ssh.Unmarshal(r.Payload, &w) == nil && t != nil {
				t.resize(w.Columns, w.Rows)
				ok = true
			}
		case "shell", "exec":
			var e execRequest
			ok = !started && (r.Type == "shell" || ssh.Unmarshal(r.Payload, &e) == nil)
			if ok {
				started = true
				wg.Go(func() { s.run(ctx, ch, t, e.Command) })
			}
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	hangUp() // the channel is closed, or its connection is gone
	wg.Wait()
}

// run runs the shell to its end and sends its exit status.
func (s *Server) run(ctx context.Context, ch ssh.Channel, t *terminal, command string) {
	args := []string{"-l"}
	if command != "" {
		args = []string{"-c", command}
	}
	cmd := exec.CommandContext(ctx, s.shell, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	// All that runs in the session hears that nobody is there any more, as at any
	// terminal's end; who ignores it is killed after a while.
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGHUP) }
	cmd.WaitDelay = hangUpWithin
	cmd.Env = []string{"PATH=/bin:/sbin", "HOME=/root", "USER=root", "SHELL=" + s.shell}
	cmd.Dir = "/"
	var err error
	if t != nil {
		err = t.run(cmd, ch)
	} else {
		err = runPlain(cmd, ch)
	}
	status := struct{ Status uint32 }{}
	if err != nil {
		status.Status = 255
		if cmd.ProcessState != nil {
			status.Status = uint32(max(cmd.ProcessState.ExitCode(), 1))
		}
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(status))
	_ = ch.Close()
}

// runPlain joins pipes; the command's input ends with the channel's, and the
// session with the command.
func runPlain(cmd *exec.Cmd, ch ssh.Channel) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	}()
	return cmd.Wait()
}

// terminal is a pseudo-terminal (pty(7)).
type terminal struct {
	*os.File
	slave *os.File
	term  string
}

func openTerminal(term string) (*terminal, error) {
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	s, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		m.Close()
		return nil, err
	}
	return &terminal{File: m, slave: s, term: term}, nil
}

func (t *terminal) resize(columns, rows uint32) {
	_ = unix.IoctlSetWinsize(int(t.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)})
}

func (t *terminal) run(cmd *exec.Cmd, ch ssh.Channel) error {
	cmd.Env = append(cmd.Env, "TERM="+t.term)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
	cmd.SysProcAttr.Setctty = true
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = t.slave.Close()
	go func() { _, _ = io.Copy(t, ch) }()
	_, _ = io.Copy(ch, t) // ends when the last user of the terminal is gone
	return cmd.Wait()
}
