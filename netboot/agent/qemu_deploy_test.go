//go:build qemu

package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

// serveImage packs a raw disk or a tar and serves it from the appliance.
func (a *testAppliance) serveImage(t *testing.T, path string, kind format.Kind, firmware string) job.ImageRef {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := os.Create(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	c, err := format.Pack(t.Context(), f, data, format.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &format.Manifest{Kind: kind, Content: *c, Meta: format.Meta{Name: "test", Version: "1", Arch: "amd64", Firmware: firmware, ServerKind: "plain", Created: time.Unix(0, 0).UTC()}}
	signed, err := m.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	mux := a.Config.Handler.(*http.ServeMux)
	mux.HandleFunc("GET /image/manifest", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(signed))
	})
	mux.HandleFunc("GET /image/data", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, data.Name()) })
	return job.ImageRef{Name: "test", Version: "1", ManifestURL: a.guestURL() + "/image/manifest", DataURL: a.guestURL() + "/image/data",
		ManifestDigest: format.Sum(signed).String(), PublicKeys: []string{format.EncodeKey(public)}}
}

// miniImage builds the smallest deployable image with the repository's recipe.
func miniImage(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("GANTRY_MINI"); p != "" {
		return p
	}
	out := filepath.Join(t.TempDir(), "mini.raw")
	cmd := exec.Command("../../images/recipe/build.sh", "mini", out)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh mini: %v\n%s", err, b)
	}
	return out
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// freePort is a TCP port of loopback that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// login waits until an SSH server with the host key lets the key in, and runs a
// command there.
func login(t *testing.T, m *machine, address, hostKey string, key ssh.Signer, command string, within time.Duration) string {
	t.Helper()
	want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		c, err := dialSSH(address, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(want),
			// Dropbear offers kinds of which it has no key, and dies when one is chosen.
			HostKeyAlgorithms: []string{want.Type()}})
		if err == nil {
			defer c.Close()
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.CombinedOutput(command)
			if err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			return string(out)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no login within %v, last: %v\n%s", within, err, m.serial())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// dialSSH gives up on a handshake soon: QEMU's network takes a connection long
// before the machine does.
func dialSSH(address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	conn, channels, requests, err := ssh.NewClientConn(c, address, config)
	if err != nil {
		c.Close()
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return ssh.NewClient(conn, channels, requests), nil
}

// A machine with an empty NVMe disk is imaged, then boots from that disk: the
// file system has the disk's room, the name and keys are those asked for, and
// the host key is the one that was reported.
func TestDeployedDiskBootsAndIsConfigured(t *testing.T) {
	const diskSize = 300 << 20
	a := newAppliance(t)
	image := a.serveImage(t, miniImage(t), format.Disk, "both")
	path, drive := diskImage(t, "d1", diskSize)
	dev := append(drive, "-device", "nvme,drive=d1,serial=ROOT-1")
	m := boot(t, a, dev...)
	key, line := newKey(t)
	r := a.mustDo(m, job.Job{ID: "d1", Kind: job.Deploy, Deploy: &job.DeploySpec{Image: image, ReadBack: true, Config: job.Config{
		Hostname: "web1.example.org", InstanceID: "i-1",
		NICs:  []job.NIC{{MAC: bootMAC, Addresses: []string{"10.0.2.50/24"}, Gateway: "10.0.2.2"}},
		DNS:   []string{"10.0.2.3"},
		Users: []job.User{{Name: "root", SSHKeys: []string{line}}, {Name: "ops", SSHKeys: []string{line}}},
	}}}, 3*time.Minute).Deploy
	if r.Disk != "/dev/nvme0n1" || r.Serial != "ROOT-1" || len(r.HostKeys) != 1 || r.Size == 0 {
		t.Errorf("%+v", r)
	}
	a.mustDo(m, job.Job{ID: "r1", Kind: job.Reboot}, time.Minute)
	m.waitExit(t, time.Minute)

	address := freePort(t)
	started := bootDisk(t, path, "nvme,drive=d1,serial=ROOT-1", "hostfwd=tcp:"+address+"-10.0.2.50:22")
	out := login(t, started, address, r.HostKeys[0], key, "hostname; df -k / | tail -1; id ops; cat /etc/resolv.conf; ip addr", 3*time.Minute)
	t.Logf("%.1fs to login after the restart:\n%s", started.since(), out)
	f := strings.Fields(strings.SplitN(out, "\n", 3)[1])
	if !strings.HasPrefix(out, "web1\n") || !strings.Contains(out, "uid=1000(ops)") || !strings.Contains(out, "10.0.2.50/24") || !strings.Contains(out, "nameserver 10.0.2.3") {
		t.Error("not what was asked for")
	}
	var kib int
	if _, err := fmt.Sscan(f[1], &kib); err != nil || kib < 240<<10 {
		t.Errorf("the root file system has %s KiB of the disk's %d", f[1], diskSize>>10)
	}
}

// bootDisk starts a machine from its disk, as its firmware does.
func bootDisk(t *testing.T, path, device, forward string, more ...string) *machine {
	t.Helper()
	args := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-drive", "if=none,format=raw,cache=unsafe,file=" + path + ",id=d1", "-device", device,
		"-netdev", "user,id=n," + forward, "-device", "virtio-net-pci,netdev=n,romfile=,mac=" + bootMAC}
	return start(t, exec.Command("qemu-system-x86_64", append(args, more...)...))
}
