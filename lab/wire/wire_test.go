//go:build qemu

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// newWire builds a wire that is gone when the test ends.
func newWire(t *testing.T, name string) *Wire {
	t.Helper()
	w, err := Build(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for _, ns := range []*Namespace{w.L2, w.App} {
			if _, err := os.Stat(filepath.Join(netnsDir, ns.Name())); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("namespace %s is left behind: %v", ns.Name(), err)
			}
		}
	})
	return w
}

// TestWireCarriesFrames sends datagrams between the two namespaces, over the
// bridge and the cable between them.
func TestWireCarriesFrames(t *testing.T) {
	w := newWire(t, fmt.Sprintf("wt%d", os.Getpid()))
	pdu, err := w.L2.ListenPacket(t.Context(), "udp", "10.78.0.10:161")
	if err != nil {
		t.Fatal(err)
	}
	defer pdu.Close()
	conn, err := w.App.Dial(t.Context(), "udp", "10.78.0.10:161")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("get")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if err := pdu.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, from, err := pdu.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "get" || from.(*net.UDPAddr).IP.String() != "10.78.0.1" {
		t.Errorf("got %q from %v: %v", buf[:n], from, err)
	}
	if _, err := Build(t.Context(), w.L2.Name()[3:len(w.L2.Name())-5]); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second wire of that name: %v, want %v", err, os.ErrExist)
	}
	if _, err := os.Stat(filepath.Join(netnsDir, w.L2.Name())); err != nil {
		t.Errorf("the first wire is gone: %v", err)
	}
}

// TestStartedProcessesLiveInTheNamespaceOnly checks where a child runs.
func TestStartedProcessesLiveInTheNamespaceOnly(t *testing.T) {
	w := newWire(t, fmt.Sprintf("ws%d", os.Getpid()))
	if err := w.AddTap("t1n0", Prov); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "-o", "link", "show", "dev", "t1n0")
	if err := w.L2.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("no t1n0 in the wire's namespace: %v", err)
	}
	if err := exec.Command("ip", "link", "show", "dev", "t1n0").Run(); err == nil {
		t.Error("t1n0 is in the host's namespace")
	}
}

// TestMachinesReachOnlyTheAppliance holds that the ports of machines are isolated
// from each other, and the appliance's is not.
func TestMachinesReachOnlyTheAppliance(t *testing.T) {
	w := newWire(t, fmt.Sprintf("wi%d", os.Getpid()))
	if err := errors.Join(w.AddTap("t1n0", Prov), w.AddTap("t2n0", Prov)); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[string]bool{"t1n0": true, "t2n0": true, "app-prov": false} {
		err := w.L2.Do(func() error {
			link, err := netlink.LinkByName(port)
			if err != nil {
				return err
			}
			info, err := netlink.LinkGetProtinfo(link)
			if err == nil && info.Isolated != want {
				t.Errorf("port %s is isolated: %v, want %v", port, info.Isolated, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestLossDropsThatShare sends many frames through a lossy cable and counts.
// With n frames and loss p the share's standard deviation is sqrt(p(1-p)/n);
// the bound is six of them.
func TestLossDropsThatShare(t *testing.T) {
	w := newWire(t, fmt.Sprintf("wl%d", os.Getpid()))
	const frames, loss, bound = 4000, 0.05, 0.021
	if err := w.SetLoss(t.Context(), AppProv, 2); err == nil {
		t.Error("a loss of 200 % was accepted")
	}
	if err := w.SetLoss(t.Context(), "app-mgmt", loss); err != nil {
		t.Fatal(err)
	}
	before := transmitted(t, w)
	blast(t, w, frames)
	got, err := w.Loss(t.Context(), "app-mgmt")
	if err != nil {
		t.Fatal(err)
	}
	if share := float64(got.FromMachine) / frames; share < loss-bound || share > loss+bound {
		t.Errorf("lost %.4f of the frames from the app (%d), want %v", share, got.FromMachine, loss)
	}
	t.Logf("lost %d and %d of %d frames sent", got.FromMachine, got.ToMachine, transmitted(t, w)-before)

	if err := w.SetLoss(t.Context(), "app-mgmt", 0); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Loss(t.Context(), "app-mgmt"); err != nil || got != (Loss{}) {
		t.Errorf("a mended cable still loses: %+v, %v", got, err)
	}
}

// blast sends datagrams from the appliance to the PDU's address.
func blast(t *testing.T, w *Wire, n int) {
	t.Helper()
	conn, err := w.App.Dial(t.Context(), "udp", "10.78.0.10:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		// The answer "port unreachable" surfaces as an error of a later write;
		// that frame was not sent then, and is sent again.
		if _, err := conn.Write([]byte("frame")); err != nil {
			_, err = conn.Write([]byte("frame"))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// transmitted reads how many frames the appliance sent on mgmt0.
func transmitted(t *testing.T, w *Wire) (n uint64) {
	t.Helper()
	err := w.App.Do(func() error {
		link, err := netlink.LinkByName(AppMgmt)
		if err == nil {
			n = link.Attrs().Statistics.TxPackets
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
