package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/plugins/internal/handshake"
)

// maxLine bounds a line that a driver prints; the rest of it is dropped.
const maxLine = 8 << 10

// drainTime is how long a dead driver's pipes are still read, should a child
// of its own keep them open.
const drainTime = time.Second

// process is a driver's operating system process. It is go-plugin's Runner, so
// that we and not go-plugin decide how the process starts, dies and speaks:
// the kernel kills it with us, with all that it started; noise on its standard
// output cannot break the handshake; its log is bounded.
type process struct {
	name      string
	socketDir string
	binary    *os.File // verified, and executed through this very descriptor
	cmd       *exec.Cmd
	logs      *logSink

	handshake *io.PipeReader
	exited    chan struct{} // closed after err is set
	err       error

	mu     sync.Mutex // guards the fields below
	id     int        // 0 until started
	reaped bool       // the process ID may be another's
	doomed bool       // to be killed as soon as it has started
}

// newProcess prepares the driver's process; env is all the environment it gets.
func newProcess(name string, binary *os.File, env []string, socketDir string, logs *logSink) *process {
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", binary.Fd()))
	cmd.Args = []string{BinaryPrefix + name}
	cmd.Dir = "/"
	cmd.Env = append(env, fmt.Sprintf("%s=%d", handshake.HostPIDEnv, os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return &process{name: name, socketDir: socketDir, binary: binary, cmd: cmd, logs: logs, exited: make(chan struct{})}
}

// Start starts the process and the readers of its output.
func (p *process) Start(context.Context) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start driver %s: %w", p.name, err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start driver %s: %w", p.name, err)
	}
	p.cmd.Stdout, p.cmd.Stderr = outW, errW
	started := make(chan error, 1)
	go p.run(started, outR, outW, errR, errW)
	if err := <-started; err != nil {
		return fmt.Errorf("start driver %s: %w", p.name, err)
	}
	var handshakeW *io.PipeWriter
	p.handshake, handshakeW = io.Pipe()
	go p.readOutput(outR, handshakeW)
	go p.readLog(errR)
	return nil
}

// run starts the process and waits for it on one thread that lives as long as
// the process: Pdeathsig fires when the thread that forked is gone, not when
// the program is.
func (p *process) run(started chan<- error, outR, outW, errR, errW *os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.launch()
	outW.Close()
	errW.Close()
	p.binary.Close()
	started <- err
	if err != nil {
		outR.Close()
		errR.Close()
		close(p.exited)
		return
	}
	p.err = p.reap()
	close(p.exited)
	deadline := time.Now().Add(drainTime)
	outR.SetReadDeadline(deadline)
	errR.SetReadDeadline(deadline)
}

// launch starts the process, and ends it at once if it was killed before.
func (p *process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.id = p.cmd.Process.Pid
	if p.doomed {
		return errors.Join(errors.New("killed before it started"), p.cmd.Process.Kill(), p.cmd.Wait())
	}
	return nil
}

// reap waits for the process to end, kills what it left behind in its group
// while the dead process still holds the group's ID, and only then lets go of
// it.
func (p *process) reap() error {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.reaped = true
	return p.cmd.Wait()
}

// greeting is go-plugin's handshake wherever it stands in a line: something
// may have been printed before it without a line's end.
var greeting = regexp.MustCompile(`1\|\d+\|[a-z]+\|[^|]+\|grpc\|[A-Za-z0-9+/=]*(\|[a-z]*)?$`)

// readOutput passes the handshake on and treats all else as log.
func (p *process) readOutput(r *os.File, to *io.PipeWriter) {
	defer r.Close()
	defer to.Close()
	greeted := false
	readLines(r, func(line string) {
		hello := greeting.FindString(line)
		if greeted || hello == "" {
			p.logs.line(line)
			return
		}
		greeted = true
		io.WriteString(to, hello+"\n")
	})
}

func (p *process) readLog(r *os.File) {
	defer r.Close()
	readLines(r, p.logs.line)
}

// readLines calls each with every line of r, cut to maxLine, until r ends.
func readLines(r io.Reader, each func(string)) {
	lines := bufio.NewReaderSize(r, maxLine)
	for cut := false; ; {
		part, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if !cut {
			each(string(part))
		}
		cut = more
	}
}

// Stdout is where the handshake is read, and nothing else.
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr is empty: the log is read by us.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the driver's name.
func (p *process) Name() string { return p.name }

// ID is the process ID.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

// pid is the process ID, 0 before the process has started.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// Diagnose adds what go-plugin does not know about a failed start.
func (p *process) Diagnose(context.Context) string {
	return "the driver ended, or printed no handshake: it must be a program built with the driver SDK for this machine"
}

// Wait waits for the process to end.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.err
}

// Kill kills the process and all that it started.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed = true
	if p.id > 0 && !p.reaped {
		if err := syscall.Kill(-p.id, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill driver %s: %w", p.name, err)
		}
	}
	return nil
}

// PluginToHost accepts only a socket in the folder that this driver was given.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != filepath.Clean(p.socketDir) {
		return "", "", fmt.Errorf("driver %s wants to be reached at %s %s, outside of %s", p.name, network, address, p.socketDir)
	}
	return network, address, nil
}

// HostToPlugin is the identity: both see one file system.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
