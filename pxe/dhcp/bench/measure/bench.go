package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const keaConfig = `{ "Dhcp4": {
  "interfaces-config": { "interfaces": ["gbs0/10.64.0.1"], "dhcp-socket-type": "udp" },
  "multi-threading": { "enable-multi-threading": false },
  "lease-database": { "type": "memfile", "persist": true, "name": "DIR/kea-leases4.csv", "lfc-interval": 0 },
  "valid-lifetime": 86400, "renew-timer": 43200, "rebind-timer": 75600,
  "subnet4": [ { "subnet": "10.64.0.0/10", "pools": [ { "pool": "10.65.0.0 - 10.95.255.254" } ],
     "option-data": [ {"name":"routers","data":"10.64.0.1"}, {"name":"domain-name-servers","data":"10.64.0.1"} ] } ],
  "loggers": [ { "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ { "output": "stderr" } ] } ]
} }`

// bench is the pair of namespaces and the programs.
type bench struct {
	work           string
	period         time.Duration
	server, client string
}

// peer is a server to be measured: prepare fills a fresh state directory and
// returns the command to be run in it.
type peer struct {
	name    string
	prepare func(dir string) ([]string, error)
}

// sample is one load's account, and what it cost the server.
type sample struct {
	Completed int     `json:"completed"`
	PerSecond float64 `json:"per_second"`
	Lost      float64 `json:"lost"`
	Behind    float64 `json:"behind"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	busy      time.Duration
}

func (s sample) rate() float64 { return s.PerSecond }
func (s sample) cpu() float64  { return float64(s.busy.Microseconds()) / float64(max(s.Completed, 1)) }

func newBench(work string, period time.Duration) (*bench, error) {
	work, err := filepath.Abs(work)
	if err != nil {
		return nil, err
	}
	b := &bench{work: work, period: period, server: fmt.Sprintf("gbench%ds", os.Getpid()), client: fmt.Sprintf("gbench%dc", os.Getpid())}
	for _, line := range []string{
		"netns add " + b.server, "netns add " + b.client,
		"-n " + b.server + " link add gbs0 type veth peer name gbc0 netns " + b.client,
		"-n " + b.server + " addr add 10.64.0.1/10 brd + dev gbs0", "-n " + b.server + " link set gbs0 up", "-n " + b.server + " link set lo up",
		"-n " + b.client + " addr add 10.64.0.2/10 brd + dev gbc0", "-n " + b.client + " link set gbc0 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			b.close()
			return nil, fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return b, nil
}

func (b *bench) close() {
	for _, ns := range []string{b.server, b.client} {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

// ours is our server with so many leases of other clients held.
func (b *bench) ours(held int) func(string) ([]string, error) {
	filled := ""
	return func(dir string) ([]string, error) {
		args := []string{filepath.Join(b.work, "server"), "-dir", filepath.Join(dir, "state"), "-interface", "gbs0",
			"-subnet", "10.64.0.0/10", "-pool", "10.65.0.0-10.95.255.254"}
		if held == 0 {
			return args, nil
		}
		if filled == "" {
			// Stored once, then copied for each load.
			filled = filepath.Join(b.work, "filled")
			if err := os.RemoveAll(filled); err != nil {
				return nil, err
			}
			fill := append([]string{"netns", "exec", b.server}, args...)
			fill = append(fill, "-fill", strconv.Itoa(held), "-fill-only")
			fill[slices.Index(fill, "-dir")+1] = filled
			if out, err := exec.Command("ip", fill...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("fill: %w: %s", err, out)
			}
		}
		return args, exec.Command("cp", "-a", filled, filepath.Join(dir, "state")).Run()
	}
}

func (b *bench) kea() func(string) ([]string, error) {
	return func(dir string) ([]string, error) {
		conf := filepath.Join(dir, "kea.json")
		return []string{"env", "KEA_PIDFILE_DIR=" + dir, "KEA_LOCKFILE_DIR=" + dir, "kea-dhcp4", "-c", conf},
			os.WriteFile(conf, []byte(strings.ReplaceAll(keaConfig, "DIR", dir)), 0o644)
	}
}

// load runs one load against a fresh server.
func (b *bench) load(p peer, rate int) (sample, error) {
	dir := filepath.Join(b.work, "run")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777)); err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	args, err := p.prepare(dir)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", p.name, err)
	}
	var log bytes.Buffer
	cmd := ahead(context.Background(), append([]string{"ip", "netns", "exec", b.server, "taskset", "-c", "0"}, args...)...)
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	// Each of ip, taskset and env execs what follows: the process is the server.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}()
	if err := b.listening(ended); err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", p.name, err, log.String())
	}
	s, err := b.run(cmd.Process.Pid, rate)
	if err != nil {
		return sample{}, err
	}
	fmt.Printf("%-22s offered %6d/s  done %8.0f/s  lost %5.2f %%  p50 %6.1f ms  p99 %6.1f ms  %5.1f µs each  generator behind %.1f %%\n",
		p.name, rate, s.PerSecond, 100*s.Lost, s.P50, s.P99, s.cpu(), 100*s.Behind)
	return s, nil
}

// ahead is a command before all other load of the machine: in a scheduler group
// of its own (sched(7), autogroup), at the highest niceness.
func ahead(ctx context.Context, args ...string) *exec.Cmd {
	const script = `echo -19 > /proc/self/autogroup; exec nice -n -19 "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// run loads the server with that process ID.
func (b *bench) run(pid, rate int) (sample, error) {
	var s sample
	before, err := busy(pid)
	if err != nil {
		return s, err
	}
	ctx, stop := context.WithTimeout(context.Background(), b.period+30*time.Second)
	defer stop()
	out, err := ahead(ctx, "ip", "netns", "exec", b.client, "taskset", "-c", "1", filepath.Join(b.work, "dhcpload"),
		"-rate", strconv.Itoa(rate), "-period", b.period.String()).Output()
	if err != nil {
		return s, fmt.Errorf("dhcpload: %w", err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("dhcpload said %q: %w", out, err)
	}
	after, err := busy(pid)
	s.busy = after - before
	return s, err
}

// listening waits until the server has its port, or has ended.
func (b *bench) listening(ended chan error) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		out, err := exec.Command("ip", "netns", "exec", b.server, "cat", "/proc/net/udp").Output()
		if err != nil {
			return err
		}
		if bytes.Contains(out, []byte(":0043 ")) {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("server ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("server does not listen")
}

// busy returns the processor time that a process has used (proc(5)).
func busy(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const utime, stime, tick = 11, 12, 10 * time.Millisecond
	user, err1 := strconv.Atoi(f[utime])
	system, err2 := strconv.Atoi(f[stime])
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}
