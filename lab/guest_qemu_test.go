//go:build qemu

package lab

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab/machine"
	"github.com/gantry-pod/gantry/lab/wire"
)

// bootSector is a whole operating system: it says "GANTRY DISK" on the serial
// port; on "p" it powers off by ACPI (PM1a control register of q35, 0x604), on
// "r" it resets the machine (reset control register, 0xcf9).
//
//	31c0 8ed8 be377c             xor ax,ax; mov ds,ax; mov si,message
//	ac 84c0 7406 baf803 ee ebf5  next: lodsb; test al,al; jz wait; out 0x3f8,al; jmp next
//	bafd03 ec a801 74f8          wait: in al,0x3fd; test al,1; jz wait
//	baf803 ec 3c70 740c          in al,0x3f8; cmp al,'p'; je off
//	3c72 75ec baf90c b006 ee ebe4  cmp al,'r'; jne wait; out 0xcf9,6; jmp wait
//	ba0406 b80020 ef ebdb        off: out 0x604,0x2000; jmp wait
const bootSector = "31c08ed8be377cac84c07406baf803eeebf5bafd03eca80174f8baf803ec3c70740c" +
	"3c7275ecbaf90cb006eeebe4ba0406b80020efebdb" + "47414e545259204449534b00"

// TestGuestsOwnPower boots two machines from their disks, after the network
// gave them nothing, and has one power itself off and the other reset itself.
func TestGuestsOwnPower(t *testing.T) {
	t.Parallel()
	small := machine.Spec{CPUs: 1, MemoryMiB: 128, Disks: []machine.Disk{{Bytes: 1 << 20}}}
	l := up(t, "g", small, small)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, m := range l.Machines() {
		writeBootSector(t, m.DiskPath(0))
		if err := l.SetPlugged(ctx, m.Spec().Name, false); err != nil { // or PXE takes a minute
			t.Fatal(err)
		}
		if err := l.Outlet(i + 1).Set(true); err != nil {
			t.Fatal(err)
		}
	}
	off, reset := l.Machine("m1"), l.Machine("m2")
	for m, key := range map[*machine.Machine]string{off: "p", reset: "r"} {
		if _, err := m.Console().Wait(ctx, regexp.MustCompile("GANTRY DISK")); err != nil {
			t.Fatal(err)
		}
		m.Console().Type(key)
	}
	halted := waitState(t, off, machine.Halted, promptly)
	// SeaBIOS may find its own shadow still there and reset the machine once more.
	running, err := reset.Wait(ctx, func(s machine.Status) bool { return s.Resets >= 1 })
	if err != nil || running.State != machine.On || running.PowerOns != 1 {
		t.Errorf("after its reset: %+v, %v", running, err)
	}
	if s := off.Status(); s != halted || s.PID != 0 {
		t.Errorf("a machine that powered itself off: %+v", s)
	}
	if err := l.Outlet(1).Set(false); err != nil {
		t.Fatal(err)
	}
	waitState(t, off, machine.Off, promptly)
	if err := l.Outlet(1).Set(true); err != nil {
		t.Fatal(err)
	}
	if s := waitState(t, off, machine.On, promptly); s.PowerOns != 2 {
		t.Errorf("after its outlet's cycle: %+v", s)
	}
}

func writeBootSector(t *testing.T, disk string) {
	t.Helper()
	sector := make([]byte, 512)
	code, err := hex.DecodeString(bootSector)
	if err != nil {
		t.Fatal(err)
	}
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sector); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestForwards reaches from the host into the appliance's namespace, and finds
// a machine by the address that it announces.
func TestForwards(t *testing.T) {
	t.Parallel()
	listen := freePort(t)
	dir := t.TempDir()
	l, err := Up(t.Context(), Config{
		Name: testName("w"), StateDir: filepath.Join(dir, "state"),
		Machines: []machine.Spec{{Name: "m1"}},
		Forwards: []Forward{{Listen: listen, To: "machine:m1:2222"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		checkGone(t, l.cfg.Name)
	}()
	if _, err := Up(t.Context(), Config{
		Name: testName("v"), StateDir: filepath.Join(dir, "other"), Machines: []machine.Spec{{Name: "m1"}}, Forwards: l.cfg.Forwards,
	}); err == nil || !regexp.MustCompile("in use").MatchString(err.Error()) {
		t.Errorf("a port in use: %v", err)
	}
	checkGone(t, testName("v"))

	// The appliance's side plays the machine: it has its address and announces
	// it with the machine's MAC.
	var service net.Listener
	if err := l.Wire().App.Do(func() (err error) {
		service, err = net.Listen("tcp", "10.77.0.1:2222")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		for {
			conn, err := service.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "SSH-2.0-lab")
			conn.Close()
		}
	}()
	if line := firstLine(t, listen); line != "" {
		t.Errorf("a machine without an address answers %q", line)
	}
	if err := l.Wire().Announce(wire.AppProv, l.Machine("m1").Spec().NICs[0].MAC, "10.77.0.1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	for {
		if _, ok := l.Addr("m1"); ok {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("the announcement was not heard")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if line := firstLine(t, listen); line != "SSH-2.0-lab\n" {
		t.Errorf("through the forward: %q", line)
	}
}

// freePort returns a port of the host that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// firstLine is what a server says first; "" if it closes at once.
func firstLine(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, promptly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(promptly)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if os.IsTimeout(err) {
		t.Fatal(err)
	}
	return line
}

// TestAppliance holds that the lab's appliance runs in its namespace, dies when
// it is killed, and comes back when that is asked for.
func TestAppliance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "appliance")
	script := "#!/bin/sh\nip -4 -o addr show dev mgmt0\necho \"config $2\"\nexec sleep 1000\n"
	if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Up(t.Context(), Config{Name: testName("a"), StateDir: filepath.Join(dir, "state"), Appliance: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		checkGone(t, l.cfg.Name)
	}()
	first := l.Status().Appliance.PID
	waitLog(t, l.path("appliance.log"), `10\.78\.0\.1/24(.|\n)*config `+l.ApplianceConfigPath())
	if err := l.KillAppliance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := l.Status().Appliance; s.PID != 0 || s.Exit != "signal: killed" {
		t.Errorf("killed: %+v", s)
	}
	for range 2 { // the second time it runs
		if err := l.StartAppliance(); err != nil {
			t.Fatal(err)
		}
	}
	second := l.Status().Appliance.PID
	if err := l.RestartAppliance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if third := l.Status().Appliance.PID; third == 0 || third == second || second == first {
		t.Errorf("processes %d, %d, %d", first, second, third)
	}
}

func waitLog(t *testing.T, path, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	for {
		text, err := os.ReadFile(path)
		if err == nil && re.Match(text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no %q in %s: %v\n%s", pattern, path, err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
