package sim

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/netboot/agent"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/netboot/write"
)

// agent is the netboot agent's life on this machine.
func (m *machine) agent(ctx context.Context, server, name, token, bootIF string) error {
	via, stop, err := m.bend(server)
	if err != nil {
		return err
	}
	defer stop()
	log := m.log.With("agent", name)
	hello := job.Hello{Protocol: job.Version, Agent: "soak", Machine: name, BootMAC: bootIF, UUID: m.spec.UUID, MACs: []string{m.spec.MAC}}
	if m.faults.toForge() {
		m.forge(ctx, server, token, hello, log)
	}
	client := agent.NewClient(via, token, log)
	welcome, _, err := client.Hello(ctx, hello)
	if err != nil {
		return err
	}
	w := agent.Worker{Client: client, Log: log, ReportEvery: time.Duration(welcome.ReportEvery),
		Runners: map[job.Kind]agent.Runner{
			job.Inspect: m.inspect, job.Deploy: m.deploy, job.Wipe: m.wipe, job.Rescue: m.rescue,
			job.Reboot: farewell("reboot"), job.PowerOff: farewell("poweroff"),
		},
		After: map[job.Kind]func() error{
			job.Reboot:   func() error { return errRestart },
			job.PowerOff: func() error { return errHalt },
		}}
	return w.Run(ctx)
}

// forge wants another machine's script, and says hello with tokens that are not
// this boot's. None may be believed.
func (m *machine) forge(ctx context.Context, server, token string, h job.Hello, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	other, otherMAC := h, neighbourMAC(m.spec.MAC, "01")
	other.Machine = "m1"
	if h.Machine == "m1" {
		other.Machine, otherMAC = "m2", neighbourMAC(m.spec.MAC, "02")
	}
	m.steal(ctx, server+"/boot/"+strings.ReplaceAll(otherMAC, ":", "-")+".ipxe")
	for _, try := range []struct {
		what, token string
		hello       job.Hello
	}{
		{"a token that nobody gave", strings.Repeat("A", len(token)), h},
		{"its own token, as another machine", token, other},
	} {
		_, _, err := agent.NewClient(server, try.token, log).Hello(ctx, try.hello)
		if err == nil {
			m.tell(Event{What: Intruded, Detail: try.what})
		}
	}
}

// neighbourMAC is the MAC address of the rack's machine with that number.
func neighbourMAC(mac, number string) string { return mac[:len(mac)-len(number)] + number }

// steal asks for another machine's script. It must not get one that does anything.
func (m *machine) steal(ctx context.Context, url string) {
	text, err := m.fetch(ctx, url)
	if err != nil {
		return
	}
	if s, err := readScript(text, url); err != nil || s.disk || s.kernel != "" {
		m.tell(Event{What: Intruded, Detail: "another machine's script: " + text})
	}
}

// farewell is a job whose work begins when its report was acknowledged.
func farewell(phase string) agent.Runner {
	return func(ctx context.Context, _ *job.Job, p agent.Phases) (*job.Result, error) {
		return &job.Result{}, p.Run(ctx, phase, func(context.Context) (string, error) { return "", nil })
	}
}

func (m *machine) inspect(ctx context.Context, _ *job.Job, p agent.Phases) (*job.Result, error) {
	inv := &job.Inventory{
		System: job.System{Vendor: "Gantry", Product: "Soak", UUID: m.spec.UUID}, Firmware: "bios",
		CPU: job.CPU{Model: "none", Arch: "amd64", Sockets: 1, Cores: 1, Threads: 1}, Memory: 1 << 30,
		Disks: []job.Disk{{Path: "/dev/vda", Serial: m.spec.Name + "-d0", Bytes: m.spec.DiskBytes, SectorSize: 512, Transport: "virtio"}},
		NICs:  []job.Link{{Name: nic, MAC: m.spec.MAC, Driver: "veth", Up: true, MTU: 1500}},
	}
	return &job.Result{Inventory: inv}, m.phase(ctx, p, "inspect", func() error { return nil })
}

// phase is one that takes a while and then does something.
func (m *machine) phase(ctx context.Context, p agent.Phases, name string, do func() error) error {
	return p.Run(ctx, name, func(ctx context.Context) (string, error) {
		m.pause(ctx, 150*time.Millisecond)
		return "", errors.Join(context.Cause(ctx), do())
	})
}

// deploy writes the image with the agent's own writer and makes the system this
// server.
func (m *machine) deploy(ctx context.Context, j *job.Job, p agent.Phases) (*job.Result, error) {
	out := &job.Deployed{Disk: "/dev/vda", Serial: m.spec.Name + "-d0"}
	if err := m.phase(ctx, p, "disk", func() error { return nil }); err != nil {
		return nil, err
	}
	err := p.Run(ctx, "write", func(ctx context.Context) (string, error) {
		st, err := write.Write(ctx, write.Request{Image: j.Deploy.Image, Target: m.spec.Disk, Arch: "amd64",
			ReadBack: j.Deploy.ReadBack, Workers: 1, Log: m.log})
		out.Written, out.Fetched, out.Size = st.Written, st.Fetched, st.Size
		m.pause(ctx, 300*time.Millisecond)
		return "", err
	})
	if err != nil {
		return nil, err
	}
	if err := m.phase(ctx, p, "grow", func() error { return nil }); err != nil {
		return nil, err
	}
	err = m.phase(ctx, p, "configure", func() error {
		s := System{Instance: j.Deploy.Config.InstanceID, Hostname: j.Deploy.Config.Hostname, Key: make([]byte, ed25519.SeedSize)}
		if _, err := crand.Read(s.Key); err != nil {
			return err
		}
		signer, err := s.signer()
		if err != nil {
			return err
		}
		out.HostKeys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
		return writeSystem(m.spec.Disk, m.spec.DiskBytes, s)
	})
	out.Phases = p.Times()
	return &job.Result{Deploy: out}, err
}

// wipe makes the disk zero.
func (m *machine) wipe(ctx context.Context, _ *job.Job, p agent.Phases) (*job.Result, error) {
	w := job.WipedDisk{Path: "/dev/vda", Serial: m.spec.Name + "-d0", Bytes: m.spec.DiskBytes, Method: "zero", Verified: "full", Began: time.Now().UTC()}
	err := m.phase(ctx, p, "wipe", func() error {
		f, err := os.OpenFile(m.spec.Disk, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		err = f.Truncate(0)
		m.pause(ctx, 100*time.Millisecond)
		return errors.Join(err, f.Truncate(m.spec.DiskBytes), f.Sync(), f.Close())
	})
	w.Ended = time.Now().UTC()
	return &job.Result{Wiped: []job.WipedDisk{w}}, err
}

func (m *machine) rescue(ctx context.Context, _ *job.Job, p agent.Phases) (*job.Result, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	ready := &job.RescueReady{}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			ready.Address = net.JoinHostPort(ip.IP.String(), "22")
		}
	}
	if ready.Address == "" {
		return nil, fmt.Errorf("no address among %v", addrs)
	}
	return &job.Result{Rescue: ready}, m.phase(ctx, p, "rescue", func() error { return nil })
}
