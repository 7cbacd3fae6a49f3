package asset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

// Tables are the inventory's tables in the appliance's store.
type Tables struct {
	machines  *store.Table[Machine]
	byMAC     *store.Index[Machine]
	byAddress *store.Index[Machine]
	byOutlet  *store.Index[Machine]
	pdus      *store.Table[PDU]
}

// MachinesTable is the name under which changes to machines are watched.
const MachinesTable = "machines"

// NewTables declares the inventory's tables.
func NewTables() *Tables {
	m := store.NewTable(MachinesTable, 1, func(m *Machine) store.Key { return store.K(m.ID) })
	return &Tables{
		machines: m,
		byMAC: store.NewIndex(m, "mac", func(m *Machine) (keys []store.Key) {
			for _, mac := range m.MACs {
				keys = append(keys, store.K(mac))
			}
			return keys
		}, true),
		byAddress: store.NewIndex(m, "address", func(m *Machine) []store.Key {
			if !m.Address.IsValid() {
				return nil
			}
			return []store.Key{store.K(m.Address)}
		}, true),
		byOutlet: store.NewIndex(m, "outlet", func(m *Machine) (keys []store.Key) {
			for _, f := range m.Power {
				keys = append(keys, store.K(f.PDU, f.Outlet))
			}
			return keys
		}, true),
		pdus: store.NewTable("pdus", 1, func(p *PDU) store.Key { return store.K(p.ID) }),
	}
}

// Schemas lists the tables for store.Open.
func (t *Tables) Schemas() []store.Schema { return []store.Schema{t.machines, t.pdus} }

// Registry reads and changes the inventory. It is safe for concurrent use.
type Registry struct {
	db    *store.DB
	t     *Tables
	vault *Vault
	pool  Pool
	now   func() time.Time
}

// Pool is the range of provisioning addresses that machines get, both ends
// included.
type Pool struct{ First, Last netip.Addr }

// NewRegistry makes a registry over db, which was opened with t's schemas.
func NewRegistry(db *store.DB, t *Tables, vault *Vault, pool Pool, now func() time.Time) *Registry {
	return &Registry{db: db, t: t, vault: vault, pool: pool, now: now}
}

// Sentinel errors of the inventory.
var (
	// ErrNotFound says that there is no such asset.
	ErrNotFound = errors.New("not found")
	// ErrLocked says that another change request has the machine.
	ErrLocked = errors.New("busy")
	// ErrExists says that the asset, or something that it claims, is already there.
	ErrExists = errors.New("already exists")
)

// Machine returns the machine called id.
func (r *Registry) Machine(ctx context.Context, id string) (m Machine, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error { m, err = r.Get(tx, id); return err })
	return m, err
}

// Get returns the machine called id within a transaction.
func (r *Registry) Get(tx *store.Tx, id string) (Machine, error) {
	m, err := r.t.machines.Get(tx, store.K(id))
	if errors.Is(err, store.ErrNotFound) {
		return m, fmt.Errorf("machine %q: %w", id, ErrNotFound)
	}
	return m, err
}

// ByMAC returns the machine that has a NIC with this address.
func (r *Registry) ByMAC(ctx context.Context, mac string) (m Machine, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		m, err = r.t.byMAC.Get(tx, store.K(mac))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("machine with MAC address %s: %w", mac, ErrNotFound)
		}
		return err
	})
	return m, err
}

// Machines returns all machines in the order of their names.
func (r *Registry) Machines(ctx context.Context) (list []Machine, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		list = list[:0]
		for m, err := range r.t.machines.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			list = append(list, m)
		}
		return nil
	})
	return list, err
}

// Watch signals after each change to a machine.
func (r *Registry) Watch() (changed <-chan struct{}, stop func()) { return r.db.Watch(MachinesTable) }

// Change reads a machine, lets fn change it, and commits it, in one transaction.
// fn may run again.
func (r *Registry) Change(ctx context.Context, id string, fn func(tx *store.Tx, m *Machine) error) error {
	return r.db.Update(ctx, func(tx *store.Tx) error { return r.ChangeIn(tx, id, fn) })
}

// ChangeIn is Change within a transaction of the caller's.
func (r *Registry) ChangeIn(tx *store.Tx, id string, fn func(tx *store.Tx, m *Machine) error) error {
	m, err := r.Get(tx, id)
	if err != nil {
		return err
	}
	if err := fn(tx, &m); err != nil {
		return err
	}
	m.Updated = r.now()
	return r.put(tx, m)
}

// Apply brings an event to a machine's lifecycle.
func (r *Registry) Apply(ctx context.Context, id string, e machine.Event) error {
	return r.Change(ctx, id, func(_ *store.Tx, m *Machine) error { return m.Apply(e, r.now()) })
}

// Apply brings an event to the machine's lifecycle and keeps track of whether
// its disks may hold anything.
func (m *Machine) Apply(e machine.Event, now time.Time) error {
	next, err := machine.Next(m.Status, e, now)
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.ID, err)
	}
	m.Status = next
	switch e.Kind {
	case machine.Image:
		m.Dirty = true
	case machine.Wiped:
		m.Dirty = false
		m.Server = nil
	}
	return nil
}

// Accept records that a technician vouches for a machine. Feeds that are given
// replace those it has. A discovered machine that was inspected becomes
// available by it.
func (r *Registry) Accept(ctx context.Context, id, owner string, feeds []Feed) error {
	return r.Change(ctx, id, func(_ *store.Tx, m *Machine) error {
		if m.Lock != "" && len(feeds) > 0 {
			return fmt.Errorf("machine %s: request %s has it: %w", id, m.Lock, ErrLocked)
		}
		m.Accepted = true
		if owner != "" {
			m.Owner = owner
		}
		if len(feeds) > 0 {
			m.Power = feeds
		}
		if m.Status.State == machine.Discovered && m.Inventory != nil {
			return m.Apply(machine.Event{Kind: machine.Accept}, r.now())
		}
		return nil
	})
}

// Overdue brings the passing of time to every machine and returns the IDs of
// those that became broken by it. Machines that a request has are left to it.
func (r *Registry) Overdue(ctx context.Context) (broken []Machine, err error) {
	err = r.db.Update(ctx, func(tx *store.Tx) error {
		broken = broken[:0]
		for m, err := range r.t.machines.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			was := m.Status.State
			if err := m.Apply(machine.Event{Kind: machine.Tick}, r.now()); err != nil {
				return err
			}
			if m.Status.State != was && m.Lock == "" {
				broken = append(broken, m)
			}
		}
		for _, m := range broken {
			if err := r.put(tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	return broken, err
}

// Discover makes a record for a machine that was seen on the network and is in
// no inventory. If there is one with that address already, it is returned.
func (r *Registry) Discover(ctx context.Context, mac, uuid string) (m Machine, err error) {
	err = r.db.Update(ctx, func(tx *store.Tx) error {
		if m, err = r.t.byMAC.Get(tx, store.K(mac)); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		now := r.now()
		m = Machine{ID: discoveredName(mac), MACs: []string{mac}, UUID: uuid, Created: now, Updated: now,
			Status: machine.Status{State: machine.Discovered, Since: now, Reason: "seen on the network"}}
		if m.Address, err = r.freeAddress(tx); err != nil {
			return err
		}
		return r.t.machines.Insert(tx, m)
	})
	return m, err
}

func discoveredName(mac string) string {
	name := []byte("new-")
	for i := range len(mac) {
		if mac[i] != ':' {
			name = append(name, mac[i])
		}
	}
	return string(name)
}

// put writes m and turns the store's complaint about a unique index into one
// about assets.
func (r *Registry) put(tx *store.Tx, m Machine) error {
	if err := r.t.machines.Put(tx, m); err != nil {
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("machine %s: a MAC address, address or outlet belongs to another machine: %w", m.ID, ErrExists)
		}
		return err
	}
	return nil
}

func (r *Registry) freeAddress(tx *store.Tx) (netip.Addr, error) {
	for a := r.pool.First; a.IsValid() && a.Compare(r.pool.Last) <= 0; a = a.Next() {
		_, err := r.t.byAddress.Get(tx, store.K(a))
		if errors.Is(err, store.ErrNotFound) {
			return a, nil
		}
		if err != nil {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is free in %s-%s: enlarge dhcp.machines in the appliance's configuration, or delete machines", r.pool.First, r.pool.Last)
}

// Delete removes a machine that is not in use from the inventory.
func (r *Registry) Delete(ctx context.Context, id string) error {
	return r.db.Update(ctx, func(tx *store.Tx) error {
		m, err := r.Get(tx, id)
		if err != nil {
			return err
		}
		if m.Lock != "" {
			return fmt.Errorf("machine %s: request %s has it: %w", id, m.Lock, ErrLocked)
		}
		switch m.Status.State {
		case machine.Discovered, machine.Available, machine.Maintenance, machine.Broken:
			return r.t.machines.Delete(tx, store.K(id))
		}
		return fmt.Errorf("machine %s is %s: release it first", id, m.Status.State)
	})
}
