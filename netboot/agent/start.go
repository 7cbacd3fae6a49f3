package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/link"
	"github.com/gantry-pod/gantry/netboot/modules"
	"github.com/gantry-pod/gantry/netboot/pid1"
)

// Config is what Run needs.
type Config struct {
	Params Params
	// Version is the agent's build version.
	Version string
	// Console takes the log too.
	Console io.Writer
	// SessionFile is where the session is left for the first process, so that it
	// can send an agent's last words.
	SessionFile string
}

const (
	logBytes   = 1 << 20
	netTimeout = 3 * time.Minute
	maxSkew    = 2 * time.Second
	// restAfter is when disks' drivers are loaded though the network is not there:
	// a NIC that takes longer waits for its cable, not for a processor.
	restAfter = 1500 * time.Millisecond
)

// Run is the agent from its first line to its end. It returns only on an error
// that no retry helps, or when ctx ends.
func Run(ctx context.Context, c Config) error {
	buf := newLogBuffer(logBytes)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(c.Console, buf), nil))
	client := NewClient(c.Params.Server, c.Params.Token, log)
	log.Info("gantry-netboot", "version", c.Version, "machine", c.Params.Machine, "uptime", uptime())
	kctx, stop := context.WithCancel(ctx)
	var kernel sync.WaitGroup
	kernel.Go(func() {
		if err := followKernel(kctx, "/dev/kmsg", buf); err != nil {
			log.Warn("the kernel's messages are not sent", "err", err)
		}
	})
	err := run(ctx, c, client, buf, log)
	stop()
	kernel.Wait()
	log.Error("the agent ends", "err", err)
	fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	buf.flush(fctx, client.Log)
	return err
}

func run(ctx context.Context, c Config, client *Client, buf *logBuffer, log *slog.Logger) error {
	loader, err := modules.Open(os.DirFS("/"), modules.Insert)
	if err != nil {
		return err
	}
	plug, err := modules.Start(ctx, loader, os.DirFS("/sys"), log)
	if err != nil {
		return err
	}
	rest := time.AfterFunc(restAfter, plug.Rest)
	defer rest.Stop()
	nctx, cancel := context.WithTimeout(ctx, netTimeout)
	nic, err := link.Up(nctx, c.Params.BootIF, log)
	cancel()
	if err != nil {
		return err
	}
	log.Info("network", "nic", nic.Name, "address", nic.Address.String(), "uptime", uptime())
	kctx, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() { defer close(kept); nic.Keep(kctx) }()
	defer func() { stop(); <-kept }()
	welcome, err := hello(ctx, c, client, log)
	if err != nil {
		return err
	}
	plug.Rest()
	go buf.ship(kctx, client.Log)
	d := Devices{Plug: plug, Loader: loader, Log: log, Address: nic.Address.IP, Tools: NewTools(toolsArchive, "/")}
	w := Worker{Client: client, Log: log, ReportEvery: time.Duration(welcome.ReportEvery), Runners: d.Runners(), After: map[job.Kind]func() error{
		job.Reboot: pid1.Restart, job.PowerOff: pid1.PowerOff,
	}}
	return w.Run(ctx)
}

// hello introduces this boot and sets the clock by the appliance's, as a
// machine's own may be years off and deadlines and certificates carry times.
func hello(ctx context.Context, c Config, client *Client, log *slog.Logger) (job.Welcome, error) {
	h := job.Hello{Protocol: job.Version, Agent: c.Version, Machine: c.Params.Machine, BootMAC: c.Params.BootIF, UUID: systemUUID(), MACs: macs()}
	w, date, err := client.Hello(ctx, h)
	if err != nil {
		return w, err
	}
	if skew := time.Since(date); !date.IsZero() && skew.Abs() > maxSkew {
		tv := unix.NsecToTimeval(date.UnixNano())
		log.Info("clock set by the appliance's", "was_off_by", skew.Round(time.Second), "err", unix.Settimeofday(&tv))
	}
	log.Info("welcome", "uptime", uptime())
	b, err := json.Marshal(Session{Server: c.Params.Server, Token: w.Session})
	if err != nil {
		return w, err
	}
	return w, os.WriteFile(c.SessionFile, b, 0o600)
}

// Session is what the session file holds.
type Session struct {
	Server, Token string
}

// LastWords sends text to the appliance with the session in file, or else with
// the boot token.
func LastWords(ctx context.Context, file string, p Params, text []byte, log *slog.Logger) error {
	s := Session{Server: p.Server, Token: p.Token}
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("session file: %w", err)
		}
	}
	return NewClient(s.Server, s.Token, log).Log(ctx, text)
}

// systemUUID is SMBIOS', empty if there is none.
func systemUUID() string {
	b, err := os.ReadFile("/sys/class/dmi/id/product_uuid")
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(string(b)))
}

// macs are the MAC addresses of NICs that have a device behind them.
func macs() []string {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range ifs {
		_, err := os.Stat(filepath.Join("/sys/class/net", i.Name, "device"))
		if err == nil && len(i.HardwareAddr) == 6 {
			out = append(out, i.HardwareAddr.String())
		}
	}
	return out
}

// uptime is the seconds since the kernel began.
func uptime() string {
	b, _ := fs.ReadFile(os.DirFS("/proc"), "uptime")
	s, _, _ := strings.Cut(string(b), " ")
	return s
}
