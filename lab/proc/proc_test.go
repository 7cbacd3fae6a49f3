package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n"
	for _, c := range []struct {
		name, text, state string
		start             uint64
		bad               bool
	}{
		{name: "plain", text: "42 (cat)" + tail, state: "S", start: 4711},
		{name: "command with parentheses and spaces", text: "42 (a) b) (c)" + tail, state: "S", start: 4711},
		{name: "empty", text: "", bad: true},
		{name: "short", text: "42 (cat) S 1 2", bad: true},
		{name: "start is no number", text: "42 (cat) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, start, err := parseStat(c.text)
			if (err != nil) != c.bad || state != c.state || start != c.start {
				t.Errorf("parseStat = %q, %d, %v", state, start, err)
			}
		})
	}
}

func TestSignalTellsProcessesApart(t *testing.T) {
	self, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	stranger := ID{PID: self.PID, Start: self.Start - 1}
	if stranger.Alive() {
		t.Error("a process with our PID and another start time is alive")
	}
	if err := stranger.Signal(unix.SIGKILL); !errors.Is(err, ErrGone) {
		t.Errorf("signal to it: %v, want %v", err, ErrGone)
	}
}

func TestStopEscalates(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	go func() { waited <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := id.Stop(ctx, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	<-waited
	if got := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }).Signal(); got != unix.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", got)
	}
	if err := id.Stop(ctx, 0); err != nil {
		t.Errorf("second stop: %v", err)
	}
}
