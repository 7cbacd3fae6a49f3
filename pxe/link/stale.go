package link

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveStale takes back what was made for other declarations than keep: two
// interfaces with one network, of which the old one has the route, answer nobody.
// It is for a start, before Ensure. A VLAN interface of ours that keep names but
// that lacks its address is removed too, with whatever addresses it has. It
// returns what it did, in words for a log.
func RemoveStale(ctx context.Context, keep Spec) (done []string, err error) {
	if err := errors.Join(keep.Validate(), ctx.Err()); err != nil {
		return nil, err
	}
	var links []netlink.Link
	for range attempts {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var errs []error
	for _, l := range links {
		did, err := removeStale(l, keep)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove what an earlier provisioning link left on %s: %w", l.Attrs().Name, err))
		}
		if did != "" {
			done = append(done, did)
		}
	}
	return done, errors.Join(errs...)
}

func removeStale(l netlink.Link, keep Spec) (did string, err error) {
	a := l.Attrs()
	if a.Alias == markInterface {
		if a.Name == keep.Name() {
			if has, err := hasAddress(l, keep.Address); has || err != nil {
				return "", err
			}
		}
		return "removed the interface " + a.Name, netlink.LinkDel(l)
	}
	text, marked := strings.CutPrefix(a.Alias, markAddress)
	if !marked || a.Name == keep.Name() && text == keep.Address.String() {
		return "", nil
	}
	addr, err := netlink.ParseAddr(text)
	if err != nil {
		return "", nil // an administrator's text after all
	}
	if err := netlink.AddrDel(l, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return "", err
	}
	return fmt.Sprintf("removed the address %s of %s", text, a.Name), netlink.LinkSetAlias(l, "")
}
