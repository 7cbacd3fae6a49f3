package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/soak/sim"
	"github.com/gantry-pod/gantry/lab/wire"
)

// rack holds the machines and their power.
type rack struct {
	slots []*slot // by outlet, less one
}

// slot is one machine.
type slot struct {
	spec   sim.Spec
	log    *os.File
	outlet int

	noted  sync.Mutex // guards events
	events []sim.Event

	mu       sync.Mutex // guards what follows; held while the process starts and ends
	lab      *lab.Lab
	power    bool // of its outlet
	process  *exec.Cmd
	orders   io.WriteCloser
	gone     chan struct{} // closed when the process was waited for
	powerOns uint64
	trouble  error
}

// diskBytes is the size of a machine's disk; the image is smaller.
const diskBytes = 24 << 20

// newRack makes machines without power.
func newRack(dir string, n int, seed uint64) (*rack, error) {
	r := &rack{}
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("m%d", i)
		log, err := os.Create(filepath.Join(dir, name+".log"))
		if err != nil {
			return nil, err
		}
		r.slots = append(r.slots, &slot{outlet: i, log: log, spec: sim.Spec{Name: name,
			MAC: fmt.Sprintf("52:54:00:50:00:%02x", i), UUID: fmt.Sprintf("50a4beef-0000-4000-8000-0000000000%02x", i),
			Disk: filepath.Join(dir, name+".disk"), DiskBytes: diskBytes, Seed: seed*100 + uint64(i)}})
	}
	return r, nil
}

// seen returns what the machine has written down.
func (s *slot) seen() []sim.Event {
	s.noted.Lock()
	defer s.noted.Unlock()
	return slices.Clone(s.events)
}

// close takes all power away.
func (r *rack) close() {
	for _, s := range r.slots {
		s.setPower(false)
		s.log.Close()
	}
}

func (r *rack) plugInto(l *lab.Lab) {
	for _, s := range r.slots {
		s.mu.Lock()
		s.lab = l
		s.mu.Unlock()
	}
}

// switched is told of the PDU's relays.
func (r *rack) switched(outlet int, on bool) {
	if outlet <= len(r.slots) {
		r.slots[outlet-1].setPower(on)
	}
}

func (s *slot) setPower(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.power = on
	if on {
		s.start()
	} else {
		s.kill()
	}
}

// crash ends the machine as a failing power supply does: it stays dead until
// its outlet was off.
func (s *slot) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

// glitch is a power cut too short for anyone to see: the machine starts afresh.
func (s *slot) glitch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
	if s.power {
		s.start()
	}
}

// order tells the running machine something.
func (s *slot) order(o sim.Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = json.NewEncoder(s.orders).Encode(o) // it may be dying
	}
}

// start starts the machine's process. It needs s.mu.
func (s *slot) start() {
	if s.process != nil {
		return
	}
	if err := s.tryStart(); err != nil {
		s.trouble = errors.Join(s.trouble, fmt.Errorf("the soak cannot start machine %s: %w", s.spec.Name, err))
	}
}

func (s *slot) tryStart() error {
	if err := makeDisk(s.spec.Disk, s.spec.DiskBytes); err != nil {
		return err
	}
	s.powerOns++
	spec := s.spec
	spec.Seed += s.powerOns << 32
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", machineFlag+string(text))
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=50")
	orders, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.lab.Wire().L2.Start(cmd); err != nil {
		return err
	}
	gone := make(chan struct{})
	s.process, s.orders, s.gone = cmd, orders, gone
	go s.attend(cmd, events, gone)
	if err := s.lab.Wire().AddCable(fmt.Sprintf("v%dx%d", s.outlet, s.powerOns), wire.Prov, cmd.Process.Pid, s.spec.MAC); err != nil {
		return err
	}
	_, err = orders.Write([]byte("\n"))
	return err
}

// attend takes the machine's events down until it is gone. What it wrote before
// it was killed is in the pipe and counts.
func (s *slot) attend(cmd *exec.Cmd, events io.Reader, gone chan<- struct{}) {
	defer close(gone)
	for d := json.NewDecoder(events); ; {
		var e sim.Event
		if err := d.Decode(&e); err != nil {
			break
		}
		s.noted.Lock()
		s.events = append(s.events, e)
		s.noted.Unlock()
	}
	_ = cmd.Wait() // it was killed, or its log says why it ended
}

// kill ends the process and waits for its end. It needs s.mu.
func (s *slot) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have ended by itself
	<-s.gone
	s.orders.Close()
	s.process = nil
}

// makeDisk sees to it that a disk has its size, whatever a wipe left behind.
func makeDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
