package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"

	"github.com/gantry-pod/gantry/lab"
)

// capture is what was seen on the provisioning network's first exchanges.
type capture struct {
	cmd  *exec.Cmd
	once sync.Once
	mu   sync.Mutex // guards out
	out  bytes.Buffer
}

// Write takes tcpdump's lines.
func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

// watchWire records DHCP and the beginnings of HTTP answers on the appliance's
// side of the network.
func watchWire(l *lab.Lab) (*capture, error) {
	c := &capture{}
	// The filter's second half: TCP from a server's port with the "HTTP" of a
	// status line where its data begin.
	c.cmd = exec.Command("tcpdump", "-i", "prov0", "-n", "-tt", "-l", "--immediate-mode", "-q",
		"(udp and dst port 67) or (tcp and (src port 80 or src port 8067) and tcp[((tcp[12] & 0xf0) >> 2):4] = 0x48545450)")
	c.cmd.Stdout = c
	return c, l.Start(c.cmd)
}

func (c *capture) stop() {
	c.once.Do(func() {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		_ = c.cmd.Wait()
	})
}

var (
	discover = regexp.MustCompile(`(?m)^([\d.]+) IP 0\.0\.0\.0\.68 > 255\.255\.255\.255\.67`)
	answer   = regexp.MustCompile(`(?m)^([\d.]+) IP 10\.77\.0\.1\.(?:80|8067) >`)
)

// scriptTime is the seconds from the first DHCP message to the first HTTP
// answer, and ends the capture.
func (c *capture) scriptTime() (float64, error) {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.out.Bytes()
	at := discover.FindSubmatchIndex(seen)
	if at == nil {
		return 0, fmt.Errorf("no DHCP was seen on the wire:\n%s", seen)
	}
	to := answer.FindSubmatch(seen[at[1]:])
	if to == nil {
		return 0, fmt.Errorf("no HTTP was seen on the wire after DHCP:\n%s", seen)
	}
	a, err1 := strconv.ParseFloat(string(seen[at[2]:at[3]]), 64)
	b, err2 := strconv.ParseFloat(string(to[1]), 64)
	return b - a, errors.Join(err1, err2)
}
