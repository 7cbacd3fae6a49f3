package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip-netns(8) keeps the names of network namespaces.
const netnsDir = "/run/netns"

// Namespace is a network namespace with one operating-system thread that lives
// in it. All methods may be called from any goroutine.
//
// The thread matters for more than the namespace: the kernel sends a child its
// parent-death signal when the thread that started it ends, so processes are
// started from one that ends only with the Namespace.
type Namespace struct {
	name  string
	calls chan func()
	done  chan struct{}
}

// createNamespace makes a new, empty namespace of that name with its loopback
// up; [os.ErrExist] if there is one already.
func createNamespace(ctx context.Context, name string) (*Namespace, error) {
	if _, err := os.Stat(filepath.Join(netnsDir, name)); err == nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, os.ErrExist)
	}
	if err := ipNetns(ctx, "add", name); err != nil {
		return nil, err
	}
	ns, err := openNamespace(name)
	if err != nil {
		return nil, errors.Join(err, DeleteNamespace(ctx, name))
	}
	return ns, nil
}

// openNamespace starts the thread of the namespace of that name.
func openNamespace(name string) (*Namespace, error) {
	ns := &Namespace{name: name, calls: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go ns.serve(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return ns, nil
}

// serve runs calls on a thread of its own. It never unlocks the thread, so that
// the runtime ends it with the goroutine instead of reusing it elsewhere.
func (ns *Namespace) serve(ready chan<- error) {
	defer close(ns.done)
	runtime.LockOSThread()
	err := enter(ns.name)
	ready <- err
	if err != nil {
		return
	}
	for call := range ns.calls {
		call()
	}
}

// enter moves the calling thread, which must be locked, into the namespace.
func enter(name string) error {
	handle, err := netns.GetFromName(name)
	if err != nil {
		return err
	}
	defer handle.Close()
	return netns.Set(handle)
}

// Name is the namespace's name, as ip-netns(8) knows it.
func (ns *Namespace) Name() string { return ns.name }

// Do runs fn on the namespace's thread, one call at a time. fn must be short:
// it holds up all others, and must not call Do.
func (ns *Namespace) Do(fn func() error) error {
	result := make(chan error)
	ns.calls <- func() { result <- fn() }
	return <-result
}

// Start starts cmd in the namespace. The kernel kills it when the calling
// process dies, however that happens.
func (ns *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	return ns.Do(cmd.Start)
}

// Dial connects from within the namespace. Address must be an IP address and
// port, not a name. It blocks no other call.
func (ns *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := ns.apart(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", ns.name, err)
	}
	return conn, nil
}

// ListenPacket opens a packet socket, such as "udp" on "10.78.0.10:161", within
// the namespace.
func (ns *Namespace) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", ns.name, err)
	}
	return conn, nil
}

// apart runs fn in the namespace on a thread that is thrown away, so that fn
// may block.
func (ns *Namespace) apart(fn func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: see serve
		if err := enter(ns.name); err != nil {
			result <- fmt.Errorf("enter network namespace %s: %w", ns.name, err)
			return
		}
		result <- fn()
	}()
	return <-result
}

// close ends the namespace's thread, and with it whatever [Namespace.Start]
// started that still runs. The name stays until [DeleteNamespace].
func (ns *Namespace) close() {
	close(ns.calls)
	<-ns.done
}

// DeleteNamespace removes the name of a namespace. The kernel removes the
// namespace and its devices when no process is left in it. A name that does not
// exist is no error.
func DeleteNamespace(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join(netnsDir, name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return ipNetns(ctx, "del", name)
}

// ipNetns runs ip-netns(8), which also sets up the mount that keeps the names.
func ipNetns(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
