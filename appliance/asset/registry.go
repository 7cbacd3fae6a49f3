package asset

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// ErrInUse says that the asset cannot go while it stands where it does.
	ErrInUse = errors.New("in use")
	// ErrInvalid says that what was given cannot be: an address outside the
	// network, an outlet of no PDU.
	ErrInvalid = errors.New("cannot be used")
	// ErrNoAddress says that no address is left for another machine.
	ErrNoAddress = errors.New("out of addresses")
)

// Seal encrypts a secret for a record that another package keeps in the store,
// under the key of the inventory's own secrets; it opens only under that name.
func (r *Registry) Seal(plain []byte, name string) ([]byte, error) { return r.vault.Seal(plain, name) }

// Unseal decrypts what Seal made for the record called name.
func (r *Registry) Unseal(sealed []byte, name string) ([]byte, error) {
	return r.vault.Open(sealed, name)
}

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
	return r.Change(ctx, id, func(tx *store.Tx, m *Machine) error {
		if m.Lock != "" && len(feeds) > 0 {
			return fmt.Errorf("machine %s: request %s has it: %w", id, m.Lock, ErrLocked)
		}
		m.Accepted = true
		if owner != "" {
			m.Owner = owner
		}
		if len(feeds) > 0 {
			if err := r.checkFeeds(tx, feeds); err != nil {
				return fmt.Errorf("machine %s: %w", id, err)
			}
			m.Power = feeds
		}
		return m.vouched(r.now())
	})
}

// vouched takes a machine that was inspected before someone vouched for it into
// use.
func (m *Machine) vouched(now time.Time) error {
	if m.Status.State != machine.Discovered || m.Inventory == nil {
		return nil
	}
	return m.Apply(machine.Event{Kind: machine.Accept}, now)
}

// checkFeeds says which of the feeds cannot be: nobody would notice before the
// machine's power is needed.
func (r *Registry) checkFeeds(tx *store.Tx, feeds []Feed) error {
	for i, f := range feeds {
		_, err := r.t.pdus.Get(tx, store.K(f.PDU))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("power: there is no pdu %q; import it in an inventory file: %w", f.PDU, ErrInvalid)
		case err != nil:
			return err
		case f.Outlet == "":
			return fmt.Errorf("power from pdu %s has no outlet: %w", f.PDU, ErrInvalid)
		case slices.Contains(feeds[:i], f):
			return fmt.Errorf("power: outlet %s of pdu %s is named twice: %w", f.Outlet, f.PDU, ErrInvalid)
		}
	}
	return nil
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

// Delete removes a machine that is not in use from the inventory. One whose
// disks may hold what no wipe has removed is refused unless forced: it would come
// back, discovered or imported, as one that is clean.
func (r *Registry) Delete(ctx context.Context, id string, force bool) error {
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
		default:
			return fmt.Errorf("machine %s is %s; release it first: %w", id, m.Status.State, ErrInUse)
		}
		if m.Dirty && !force {
			return fmt.Errorf("machine %s was not wiped: its disks may hold a customer's data; wipe it with release (restore, if it is in maintenance), "+
				"or force this if its disks were destroyed or taken out: %w", id, ErrInUse)
		}
		return r.t.machines.Delete(tx, store.K(id))
	})
}
