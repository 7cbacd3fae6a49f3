package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/lab/qmp"
)

// Run follows the feeds until ctx is done; then it kills QEMU and closes the
// console. It is called once.
func (m *Machine) Run(ctx context.Context) {
	var console sync.WaitGroup
	console.Go(func() { m.console.serve(ctx, m.listen) })
	var cuts int // when power came on: what is read later would miss a cut between
	for m.waitPower(ctx, func() bool { cuts = m.cuts; return m.fed() }) {
		m.powerOn(ctx, cuts)
		if !m.waitPower(ctx, func() bool { return m.cuts != cuts }) {
			break
		}
		m.update(func() { m.enter(Off, "") })
	}
	m.update(func() { m.enter(Off, "") })
	m.listen.Close()
	console.Wait()
	m.logFile.Close()
}

// waitPower blocks until ok, which runs with m.mu held; false if ctx is done.
func (m *Machine) waitPower(ctx context.Context, ok func() bool) bool {
	for ctx.Err() == nil {
		m.mu.Lock()
		good, changed := ok(), m.changed
		m.mu.Unlock()
		if good {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// powerOn runs one QEMU from power-on to its end, whatever ends it; cuts is the
// count of power cuts that this power-on began with.
func (m *Machine) powerOn(ctx context.Context, cuts int) {
	var on powerOn
	m.update(func() {
		on = powerOn{accel: m.cfg.Accel, frozen: m.status.Hang, bps: m.status.DiskBytesPerSecond}
		m.status.PowerOns++
		m.status.Resets = 0
	})
	q, err := m.start(on)
	if err != nil {
		m.cfg.Log.Error("machine does not start", "error", err)
		m.update(func() { m.enter(Failed, err.Error()) })
		return
	}
	m.update(func() {
		m.process, m.status.PID = q.cmd.Process, q.cmd.Process.Pid
		if m.enter(On, ""); on.frozen {
			m.enter(Hung, "")
		}
	})
	m.cfg.Log.Info("machine has power", "pid", q.cmd.Process.Pid, "frozen", on.frozen)
	m.attend(ctx, q, cuts)
}

// attend waits for the end of a QEMU and brings it about when power is cut.
func (m *Machine) attend(ctx context.Context, q *qemu, cuts int) {
	life, end := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { m.console.pump(q.console) })
	helpers.Go(func() { m.monitor(life, q) })
	helpers.Go(func() {
		m.waitPower(life, func() bool { return m.cuts != cuts })
		_ = q.cmd.Process.Kill() // it may have ended by itself
	})
	err := q.cmd.Wait()
	end()
	helpers.Wait()
	m.console.powerOff()
	q.close()
	m.cfg.Host.Ended(q.cmd)
	m.update(func() {
		m.process, m.qmp, m.status.PID = nil, nil, 0
		if m.cuts == cuts && ctx.Err() == nil {
			m.ended(err)
		}
	})
	m.cfg.Log.Info("machine has stopped", "state", m.Status().State, "exit", q.cmd.ProcessState.String())
}

// ended enters the state of a machine that has power and no QEMU. It needs m.mu.
func (m *Machine) ended(err error) {
	if err == nil {
		m.enter(Halted, "") // QEMU exits with 0 when the guest powers off
		return
	}
	reason := "QEMU: " + err.Error()
	if text, err := os.ReadFile(filepath.Join(m.cfg.Dir, "qemu.log")); err == nil && len(text) > 0 {
		reason += ": " + strings.TrimSpace(string(tail(text, 400)))
	}
	m.enter(Failed, reason)
}

// monitor connects to QEMU's monitor, brings faults that were set meanwhile
// into force, and counts resets.
func (m *Machine) monitor(ctx context.Context, q *qemu) {
	greet, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := qmp.Connect(greet, q.qmp, func(e qmp.Event) {
		if e.Name == "RESET" {
			m.update(func() { m.status.Resets++ })
		}
	})
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Log.Warn("no answer from QEMU's monitor", "error", err)
		}
		return
	}
	defer conn.Close()
	m.update(func() { m.qmp = conn })
	if err := m.impose(greet); err != nil && ctx.Err() == nil {
		m.cfg.Log.Warn("faults are not in force", "error", err)
	}
	<-ctx.Done()
}

// qemu is one running QEMU with our ends of its sockets.
type qemu struct {
	cmd          *exec.Cmd
	console, qmp *os.File
	log          *os.File
}

func (q *qemu) close() {
	q.console.Close()
	q.qmp.Close()
	q.log.Close()
}

// start starts QEMU, niced so that a pod of busy machines leaves the rest of
// the computer its share.
func (m *Machine) start(on powerOn) (_ *qemu, err error) {
	var opened []*os.File
	defer func() {
		if err != nil {
			closeAll(opened)
		}
	}()
	console, consoleEnd, err := socketPair("console")
	if err != nil {
		return nil, err
	}
	opened = append(opened, console)
	defer consoleEnd.Close()
	monitor, monitorEnd, err := socketPair("qmp")
	if err != nil {
		return nil, err
	}
	opened = append(opened, monitor)
	defer monitorEnd.Close()
	log, err := os.Create(filepath.Join(m.cfg.Dir, "qemu.log"))
	if err != nil {
		return nil, err
	}
	opened = append(opened, log)

	argv := append([]string{"-n", "5", qemuBinary}, m.spec.args(on)...)
	argv = append(argv,
		"-chardev", "socket,id=people,server=on,wait=off,path="+m.QMPSocket(), "-mon", "chardev=people,mode=control")
	cmd := exec.Command("nice", argv...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.cfg.Dir, log, log
	cmd.ExtraFiles = []*os.File{consoleFD - 3: consoleEnd, qmpFD - 3: monitorEnd}
	m.console.powerOn(console, fmt.Sprintf("[gantry lab: %s power on %s]", m.spec.Name, time.Now().UTC().Format(time.RFC3339)))
	if err := m.cfg.Host.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", qemuBinary, err)
	}
	return &qemu{cmd: cmd, console: console, qmp: monitor, log: log}, nil
}
