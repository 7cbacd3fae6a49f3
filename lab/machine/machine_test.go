package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArgs(t *testing.T) {
	spec := Spec{
		Name: "m1", Firmware: UEFI, UUID: "u", Serial: "s", Product: "p", CPUs: 1, MemoryMiB: 256,
		Disks: []Disk{{Bus: "virtio"}, {Bus: "ahci"}, {Bus: "nvme"}, {Bus: "ahci", Rotational: true}, {Bus: "scsi"}},
		NICs:  []NIC{{Model: "virtio", MAC: "a", Tap: "t1n0"}, {Model: "e1000e", MAC: "b", Tap: "t1n1"}},
	}.WithDefaults()
	all := strings.Join(spec.args(powerOn{accel: TCG, frozen: true, bps: 5e6}), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", " -S ", " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny ", "unit=1,format=raw,file=vars.fd",
		"-device virtio-net-pci,id=nic0,netdev=net0,mac=a,bootindex=1,romfile= ",
		"-device e1000e,id=nic1,netdev=net1,mac=b,bootindex=2 ",
		"-device virtio-blk-pci,drive=drive0,serial=m1-d0,bootindex=3 ",
		"-device ide-hd,bus=ide.0,drive=drive1,serial=m1-d1,bootindex=4,rotation_rate=1 ",
		"-device nvme,drive=drive2,serial=m1-d2,bootindex=5 ",
		"-device ide-hd,bus=ide.1,drive=drive3,serial=m1-d3,bootindex=6,rotation_rate=7200 ",
		"-device scsi-hd,bus=scsi.0,drive=drive4,serial=m1-d4,bootindex=7,rotation_rate=1",
		"file=disk4.raw,cache=unsafe,discard=unmap,throttling.bps-total=5000000",
	} {
		if !strings.Contains(all+" ", want) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	spec.Firmware = BIOS
	all = strings.Join(spec.args(powerOn{accel: KVM}), " ")
	for _, not := range []string{" -S ", "pflash", "romfile=", "throttling"} {
		if strings.Contains(all, not) {
			t.Errorf("%q in:\n%s", not, all)
		}
	}
}

func TestPrepareKeepsDisks(t *testing.T) {
	dir := t.TempDir()
	spec := Spec{Name: "m1", Disks: []Disk{{Bytes: 1 << 20}}}.WithDefaults()
	if err := prepare(spec, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "disk0.raw")
	content := bytes.Repeat([]byte{0xa5}, 1<<20)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := prepare(spec, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk's content has changed: %v", err)
	}
	spec.Disks[0].Bytes = 2 << 20
	if err := prepare(spec, dir); err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("another size: %v", err)
	}
}

// idle is a host whose QEMUs do nothing, for ever.
type idle struct{}

func (idle) Start(cmd *exec.Cmd) error {
	sleep := exec.Command("sleep", "infinity")
	cmd.Path, cmd.Args = sleep.Path, sleep.Args
	return cmd.Start()
}

func (idle) Ended(*exec.Cmd) {}

// TestCutBeforeStart cuts the power between its coming on and QEMU's start: the
// machine does not go on without any.
func TestCutBeforeStart(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "gm") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	spec := Spec{Name: "m1", UUID: "00000000-0000-4000-8000-000000000001", Outlets: []int{1}, Disks: []Disk{{Bytes: 1 << 20}},
		NICs: []NIC{{MAC: "52:54:00:00:00:01", Tap: "t1n0"}}}.WithDefaults()
	m, err := New(spec,
		Config{Dir: dir, SocketDir: dir, Host: idle{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.listen.Close()
	defer m.logFile.Close()
	m.SetFeed(1, true)
	cuts := m.cuts
	m.SetFeed(1, false)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m.powerOn(ctx, cuts)
	if ctx.Err() != nil {
		t.Error("the machine runs without power")
	}
}

func TestConsoleWait(t *testing.T) {
	c := newConsole(new(bytes.Buffer))
	c.write([]byte("login: of an earlier life"))
	c.powerOn(new(bytes.Buffer), "[on]")
	found := make(chan string)
	go func() {
		got, err := c.Wait(t.Context(), regexp.MustCompile(`log[a-z]+: \w+`))
		found <- fmt.Sprint(got, err)
	}()
	for _, b := range "noise\nlogin: root" {
		c.write([]byte(string(b)))
	}
	if got := <-found; !strings.HasPrefix(got, "login: r") || !strings.HasSuffix(got, "<nil>") {
		t.Errorf("Wait = %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitFrom(ctx, c.Mark(), regexp.MustCompile(`login`)); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait from here on: %v", err)
	}
}

// TestConsoleForgetsTheOldest writes more than is kept, byte order visible.
func TestConsoleForgetsTheOldest(t *testing.T) {
	var log bytes.Buffer
	c := newConsole(&log)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 5 * consoleKeep / len(line) {
		c.write(line)
	}
	c.write([]byte("last"))
	text, start, _ := c.from(0)
	if len(text) > 2*consoleKeep+len(line) || start == 0 || !bytes.HasSuffix(text, []byte("\nlast")) {
		t.Errorf("kept %d bytes from %d on", len(text), start)
	}
	if log.Len() != 5*consoleKeep+4 || c.Mark() != int64(log.Len()) {
		t.Errorf("logged %d bytes of %d", log.Len(), c.Mark())
	}
}

// TestConsoleAttach joins two clients, of whom one types.
func TestConsoleAttach(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	machineSide, consoleSide := net.Pipe()
	defer machineSide.Close()
	c := newConsole(new(bytes.Buffer))
	c.powerOn(consoleSide, "[on]")
	c.write([]byte("before"))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); c.serve(ctx, listener) }()

	var clients []net.Conn
	for range 2 {
		conn, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wantRead(t, conn, "before")
		clients = append(clients, conn)
	}
	c.write([]byte(" after"))
	for _, conn := range clients {
		wantRead(t, conn, " after")
	}
	if _, err := clients[1].Write([]byte("ls\r")); err != nil {
		t.Fatal(err)
	}
	wantRead(t, machineSide, "ls\r")

	cancel()
	listener.Close()
	select {
	case <-served:
	case <-time.After(5 * time.Second):
		t.Error("clients keep the console open")
	}
}

func wantRead(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		m, err := conn.Read(got[n:])
		if err != nil {
			t.Fatalf("read %q, then %v; want %q", got[:n], err, want)
		}
		n += m
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}
