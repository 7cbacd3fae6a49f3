package asset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

// Imported counts what an import changed.
type Imported struct {
	Added   []string `json:"added"`
	Updated []string `json:"updated"`
}

// Import brings an inventory file in: new assets are added, known ones get the
// file's MAC addresses, feeds and owner. Assets that the file does not name are
// left alone. It is one transaction: all of the file or nothing of it. A
// machine that a change request has keeps its feeds and MAC addresses, and the
// import is refused if the file would change them.
func (r *Registry) Import(ctx context.Context, f *File) (done Imported, err error) {
	err = r.db.Update(ctx, func(tx *store.Tx) error {
		done = Imported{Added: []string{}, Updated: []string{}}
		for i := range f.PDUs {
			if err := r.importPDU(tx, &f.PDUs[i]); err != nil {
				return err
			}
		}
		for i := range f.Machines {
			added, err := r.importMachine(tx, &f.Machines[i])
			if err != nil {
				return err
			}
			if added {
				done.Added = append(done.Added, f.Machines[i].Name)
			} else {
				done.Updated = append(done.Updated, f.Machines[i].Name)
			}
		}
		return nil
	})
	return done, err
}

func (r *Registry) importPDU(tx *store.Tx, p *FilePDU) error {
	plain, err := secretJSON(p.Config)
	if err != nil {
		return fmt.Errorf("pdu %s: %w", p.Name, err)
	}
	sealed, err := r.vault.Seal(plain, "pdu/"+p.Name)
	if err != nil {
		return fmt.Errorf("pdu %s: %w", p.Name, err)
	}
	return r.t.pdus.Put(tx, PDU{ID: p.Name, Driver: p.Driver, Address: p.Address, Config: sealed})
}

func (r *Registry) importMachine(tx *store.Tx, f *FileMachine) (added bool, err error) {
	m, err := r.Get(tx, f.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		added = true
		m, err = r.adopt(tx, f)
		if err != nil {
			return false, err
		}
	case err != nil:
		return false, err
	}
	was := m
	m.Owner, m.MACs, m.Notes, m.Accepted = f.Owner, f.MACs, f.Notes, true
	if f.UUID != "" {
		m.UUID = f.UUID
	}
	m.Power = nil
	for _, p := range f.Power {
		m.Power = append(m.Power, Feed(p))
	}
	if f.Address != "" {
		m.Address = netip.MustParseAddr(f.Address)
	}
	if !m.Address.IsValid() {
		if m.Address, err = r.freeAddress(tx); err != nil {
			return false, fmt.Errorf("machine %s: %w", m.ID, err)
		}
	}
	if m.Lock != "" && (!slices.Equal(m.MACs, was.MACs) || !slices.Equal(m.Power, was.Power) || m.Address != was.Address) {
		return false, fmt.Errorf("machine %s: request %s has it; import its new wiring when that has ended: %w", m.ID, m.Lock, ErrLocked)
	}
	m.Updated = r.now()
	return added, r.put(tx, m)
}

// adopt starts the record of a machine that the file names: a discovered one
// with one of its MAC addresses takes the file's name; otherwise it is new. Two
// discovered ones that the file says are NICs of one machine become one.
func (r *Registry) adopt(tx *store.Tx, f *FileMachine) (Machine, error) {
	now := r.now()
	m := Machine{ID: f.Name, Created: now, Status: machine.Status{State: machine.Discovered, Since: now, Reason: "imported"}}
	for _, mac := range f.MACs {
		old, err := r.t.byMAC.Get(tx, store.K(mac))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return m, err
		}
		if old.Accepted || old.Lock != "" {
			return m, fmt.Errorf("machine %s: MAC address %s belongs to machine %s: %w", f.Name, mac, old.ID, ErrExists)
		}
		if err := r.t.machines.Delete(tx, store.K(old.ID)); err != nil {
			return m, err
		}
		if m.Inventory == nil {
			m = old
			m.ID = f.Name
		}
	}
	return m, nil
}

// PDU returns the PDU called id with its configuration in clear.
func (r *Registry) PDU(ctx context.Context, id string) (p PDU, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		p, err = r.t.pdus.Get(tx, store.K(id))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("pdu %q: %w", id, ErrNotFound)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	p.Config, err = r.vault.Open(p.Config, "pdu/"+p.ID)
	return p, err
}

// PDUs returns all PDUs in the order of their names, without their
// configuration.
func (r *Registry) PDUs(ctx context.Context) (list []PDU, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		list = list[:0]
		for p, err := range r.t.pdus.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			p.Config = nil
			list = append(list, p)
		}
		return nil
	})
	return list, err
}

// ByOutlet returns the machine that an outlet feeds.
func (r *Registry) ByOutlet(ctx context.Context, f Feed) (m Machine, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		m, err = r.t.byOutlet.Get(tx, store.K(f.PDU, f.Outlet))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("machine on outlet %s of pdu %s: %w", f.Outlet, f.PDU, ErrNotFound)
		}
		return err
	})
	return m, err
}
