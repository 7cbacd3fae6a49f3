package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store"
)

// machinePool is which addresses machines may have. The configuration was
// validated.
func (c *Config) machinePool() asset.Pool {
	prefix := netip.MustParsePrefix(c.Provisioning.Address)
	p := asset.Pool{Networks: []netip.Prefix{prefix.Masked()}}
	taken := func(first, last netip.Addr, by string) {
		p.Taken = append(p.Taken, asset.Taken{First: first, Last: last, By: by})
	}
	taken(prefix.Addr(), prefix.Addr(), "is the appliance's own")
	nets := []Relayed{{Pool: c.DHCP.Pool, Router: c.DHCP.Router}}
	for _, r := range c.DHCP.Relayed {
		p.Networks = append(p.Networks, netip.MustParsePrefix(r.Prefix).Masked())
		nets = append(nets, r)
	}
	for _, n := range nets {
		if a, err := netip.ParseAddr(n.Router); err == nil && a != prefix.Addr() {
			taken(a, a, "is a router's")
		}
		if r, err := parseRange(n.Pool); err == nil {
			taken(r[0], r[1], "is in "+n.Pool+", which DHCP gives to any machine")
		}
	}
	if r, err := parseRange(c.DHCP.Machines); err == nil {
		p.First, p.Last = r[0], r[1]
	}
	return p
}

// importInventory brings in what the inventory file, if there is one, says anew.
// A file that cannot be brought in stops nobody: the pod goes on with the
// inventory that it has, and a person is told.
func importInventory(ctx context.Context, r *asset.Registry, path string, desk *alert.Desk, log *slog.Logger) error {
	if path == "" {
		return nil
	}
	done, err := readInventory(ctx, r, path)
	switch {
	case errors.Is(err, store.ErrFailed) || ctx.Err() != nil:
		return err
	case err != nil:
		log.Error("inventory file not imported", "file", path, "error", err)
		return desk.Raise(ctx, alert.Alert{Code: "inventory", Subject: "file/" + path, Detail: "the inventory file was not imported: " + err.Error(),
			Action: "the pod goes on with the inventory that it has; put this right, then import the file (gantry machine import), or restart the appliance"})
	}
	log.Info("inventory imported", "file", path, "added", done.Added, "updated", len(done.Updated))
	return nil
}

func readInventory(ctx context.Context, r *asset.Registry, path string) (done asset.Imported, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return done, err
	}
	f, err := asset.ParseFile(b)
	if err != nil {
		return done, fmt.Errorf("%s: %w", path, err)
	}
	return r.ImportChanged(ctx, f)
}
