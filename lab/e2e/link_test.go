//go:build qemu

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab/wire"
)

// TestLongLink writes an image through a link like one to another continent, or
// a satellite's: 268 ms there and back, and one of a hundred frames is lost each
// way.
func TestLongLink(t *testing.T) {
	t.Parallel()
	p := newPod(t, "ll", "boot: 2m, verify: 3m, agent_lost: 30s", small("m1"))
	p.importMini(t)
	p.accept(t, "m1")
	const oneWay, loss = 134 * time.Millisecond, 0.01
	var link *longLink
	began := time.Time{}
	r, left := p.stalk(t, p.ask(t, "m1", "deploy", p.deployment("island")).ID, []string{"image/disk", "restart"}, func(stage string) {
		if stage == "image/disk" {
			link, began = p.lengthen(t, p.Machine("m1").Spec().NICs[0].Tap, oneWay, loss), time.Now()
			return
		}
		t.Logf("the image was written, read back and configured in %.0f s", time.Since(began).Seconds())
	})
	if r.Status != "done" || len(left) > 0 {
		t.Fatalf("the deployment is %s, without %q: %+v", r.Status, left, r.Error)
	}
	for _, s := range r.Steps {
		if s.Name == "image" && s.Attempt != 1 {
			t.Errorf("it was written in %d attempts", s.Attempt)
		}
	}
	wantRight(t, p, "m1", "island")
	dialled := time.Now()
	conn, err := p.Dial(t.Context(), "tcp", p.machine(t, "m1").Address.String()+":22")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if took := time.Since(dialled); took < 2*oneWay {
		t.Errorf("a connection took %v, less than there and back", took)
	}
	passed, lost := link.passed.Load(), link.lost.Load()
	t.Logf("%d frames passed, %d were lost", passed, lost)
	if lost < passed/400 || passed < 1000 {
		t.Errorf("%d frames passed and %d were lost: that was no such link", passed, lost)
	}
}

// longLink is a cable with a length, between a tap and the switch.
type longLink struct {
	oneWay       time.Duration
	loss         float64
	passed, lost atomic.Int64
}

// lengthen pulls a machine's cable out of the switch and puts a long one in
// between, until the test ends. The kernel has netem for this, but not every one:
// frames are read from packet sockets and sent when they have travelled.
func (p *pod) lengthen(t *testing.T, tap string, oneWay time.Duration, loss float64) *longLink {
	t.Helper()
	l := &longLink{oneWay: oneWay, loss: loss}
	const near, far = "long", "long-switch"
	var ends [2]*os.File
	err := p.Wire().L2.Do(func() error {
		cable, err := netlink.LinkByName(tap)
		if err != nil {
			return err
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far}); err != nil {
			return err
		}
		links := map[string]netlink.Link{near: nil, far: nil, wire.Prov: nil}
		for name := range links {
			if links[name], err = netlink.LinkByName(name); err != nil {
				return err
			}
		}
		if ends[0], err = frames(cable); err != nil {
			return err
		}
		if ends[1], err = frames(links[near]); err != nil {
			return errors.Join(err, ends[0].Close())
		}
		return errors.Join(netlink.LinkSetNoMaster(cable), netlink.LinkSetMaster(links[far], links[wire.Prov]),
			netlink.LinkSetUp(links[near]), netlink.LinkSetUp(links[far]))
	})
	if err != nil {
		t.Fatalf("a long cable for %s: %v", tap, err)
	}
	var ways sync.WaitGroup
	ways.Go(func() { l.carry(ends[0], ends[1]) })
	ways.Go(func() { l.carry(ends[1], ends[0]) })
	t.Cleanup(func() {
		if err := errors.Join(ends[0].Close(), ends[1].Close()); err != nil {
			t.Error(err)
		}
		ways.Wait()
	})
	return l
}

// vnetHeader is before each frame: what is left to do of its checksum and
// segments (struct virtio_net_hdr of Linux).
const vnetHeader = 10

// frames opens a device for the frames that come in from it, and to send some.
func frames(link netlink.Link) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("packet socket of %s: %w", link.Attrs().Name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), link.Attrs().Name), nil
}

// carry takes frames one way until from is closed.
func (l *longLink) carry(from, to *os.File) {
	type frame struct {
		due time.Time
		b   []byte
	}
	under := make(chan frame, 8192) // what is on its way
	var sender sync.WaitGroup
	sender.Go(func() {
		for f := range under {
			time.Sleep(time.Until(f.due)) // the cable's length
			if _, err := to.Write(f.b); err == nil {
				l.passed.Add(1)
			}
		}
	})
	defer sender.Wait()
	defer close(under)
	for b := make([]byte, vnetHeader+1<<17); ; {
		n, err := from.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil || n <= vnetHeader: // such as a device that goes down for a moment
		case rand.Float64() < l.loss:
			l.lost.Add(1)
		default:
			select {
			case under <- frame{time.Now().Add(l.oneWay), slices.Clone(b[:n])}:
			default:
				l.lost.Add(1) // more than any cable holds
			}
		}
	}
}
