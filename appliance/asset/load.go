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
func (r *Registry) Import(ctx context.Context, f *File) (Imported, error) {
	return r.load(ctx, f, false)
}

// ImportChanged is Import, but machines of which the file says what it said when
// they were last imported are left as they are: what a technician has set since
// then stands.
func (r *Registry) ImportChanged(ctx context.Context, f *File) (Imported, error) {
	return r.load(ctx, f, true)
}

func (r *Registry) load(ctx context.Context, f *File, changed bool) (done Imported, err error) {
	err = r.db.Update(ctx, func(tx *store.Tx) error {
		done = Imported{Added: []string{}, Updated: []string{}}
		for i := range f.PDUs {
			if err := r.importPDU(tx, &f.PDUs[i]); err != nil {
				return err
			}
		}
		for i := range f.Machines {
			if err := r.importMachine(tx, &f.Machines[i], changed, &done); err != nil {
				return err
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

func (r *Registry) importMachine(tx *store.Tx, f *FileMachine, changed bool, done *Imported) error {
	sum, err := f.sum()
	if err != nil {
		return fmt.Errorf("machine %s: %w", f.Name, err)
	}
	list := &done.Updated
	m, err := r.Get(tx, f.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		list = &done.Added
		m, err = r.adopt(tx, f)
		if err != nil {
			return err
		}
	case err != nil:
		return err
	case changed && m.Imported == sum:
		return nil
	}
	if err := r.takeOver(tx, &m, f); err != nil {
		return fmt.Errorf("machine %s: %w", f.Name, err)
	}
	m.Imported, m.Updated = sum, r.now()
	*list = append(*list, f.Name)
	return r.put(tx, m)
}

// takeOver gives m what the file says of it.
func (r *Registry) takeOver(tx *store.Tx, m *Machine, f *FileMachine) (err error) {
	was := *m
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
		if err := r.pool.check(m.Address); err != nil {
			return err
		}
	}
	if !m.Address.IsValid() {
		if m.Address, err = r.freeAddress(tx); err != nil {
			return err
		}
	}
	if m.Lock != "" && (!slices.Equal(m.MACs, was.MACs) || !slices.Equal(m.Power, was.Power) || m.Address != was.Address) {
		return fmt.Errorf("request %s has it; import its new wiring when that has ended: %w", m.Lock, ErrLocked)
	}
	return m.vouched(r.now())
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
		if !old.Accepted && old.Lock != "" {
			return m, fmt.Errorf("machine %s: MAC address %s belongs to machine %s, which request %s has; import it when that has ended: %w",
				f.Name, mac, old.ID, old.Lock, ErrLocked)
		}
		if old.Accepted {
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
