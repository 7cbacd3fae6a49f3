package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-pod/gantry/lab"
)

// The chain's agent says these on the console, see chain.sh.
var chainMarks = [...]string{"CHAIN: start", "CHAIN: network", "CHAIN: written"}

// chainWithin is far more than the slowest run takes.
const chainWithin = 10 * time.Minute

// runChain images the machine once by the field's usual chain.
func (o options) runChain(ctx context.Context, p pairing) (t timing, err error) {
	ctx, cancel := context.WithTimeout(ctx, chainWithin)
	defer cancel()
	l, closeLab, err := o.up(ctx, "chain", p, "")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, closeLab()) }()
	stop, err := o.serveChain(l, p)
	if err != nil {
		return t, err
	}
	defer stop()
	wire, err := watchWire(l)
	if err != nil {
		return t, err
	}
	defer wire.stop()
	m := l.Machine("m1")
	began := time.Now()
	if err := l.Outlet(1).Set(true); err != nil {
		return t, err
	}
	fmt.Printf("  chain, %s, %s:", p.firmware, p.image)
	for _, mark := range chainMarks {
		if _, err := m.Console().Wait(ctx, regexp.MustCompile(mark)); err != nil {
			return t, err
		}
		t.imaged = time.Since(began).Seconds()
		fmt.Printf(" %s %.1f s", strings.TrimPrefix(mark, "CHAIN: "), t.imaged)
	}
	fmt.Println()
	if err := l.Outlet(1).Set(false); err != nil {
		return t, err
	}
	if t.script, err = wire.scriptTime(); err != nil {
		return t, err
	}
	return t, exec.CommandContext(ctx, "cmp", "-n", size(o.images[p.image]), o.images[p.image], m.DiskPath(0)).Run()
}

func size(file string) string {
	s, err := os.Stat(file)
	if err != nil {
		return "0"
	}
	return fmt.Sprint(s.Size())
}

// serveChain starts dnsmasq and nginx where the appliance would be.
func (o options) serveChain(l *lab.Lab, p pairing) (stop func(), err error) {
	dir := filepath.Join(o.work, "chain-run")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	http := filepath.Join(o.peer, "http")
	if err := errors.Join(os.RemoveAll(filepath.Join(http, "img.raw.zst")),
		os.Symlink(filepath.Join(o.peer, p.image+".raw.zst"), filepath.Join(http, "img.raw.zst"))); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `worker_processes 1; daemon off; pid %[1]s/nginx.pid; error_log %[1]s/nginx.err; user root;
events { worker_connections 64; }
http { access_log off; sendfile on; server { listen 10.77.0.1:80; root %[2]s; } }
`, dir, http), 0o644); err != nil {
		return nil, err
	}
	nginx := exec.Command("nginx", "-c", conf)
	dnsmasq := exec.Command("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=prov0", "--bind-interfaces", "--user=root",
		"--pid-file="+filepath.Join(dir, "dnsmasq.pid"), "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--no-ping",
		"--dhcp-range=10.77.0.100,10.77.0.200,1h", "--enable-tftp", "--tftp-root="+filepath.Join(o.peer, "tftp"),
		"--dhcp-userclass=set:ipxe,iPXE", "--dhcp-boot=tag:ipxe,http://10.77.0.1/boot.ipxe",
		"--dhcp-match=set:efi,option:client-arch,7", "--dhcp-boot=tag:efi,tag:!ipxe,snponly.efi", "--dhcp-boot=tag:!efi,tag:!ipxe,undionly.kpxe")
	var started []*exec.Cmd
	stop = func() {
		for _, cmd := range started {
			_ = cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
			_ = cmd.Wait()
		}
	}
	for _, cmd := range []*exec.Cmd{nginx, dnsmasq} {
		cmd.Stderr = os.Stderr
		if err := l.Start(cmd); err != nil {
			stop()
			return nil, err
		}
		started = append(started, cmd)
	}
	return stop, nil
}
