package asset

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/gantry-pod/gantry/store"
)

// Pool says which provisioning addresses machines may have.
type Pool struct {
	// First and Last bound the range that machines get an address from if the
	// inventory names none, both included. Without one, each must be given.
	First, Last netip.Addr
	// Networks are the networks that machines are in; empty allows any address.
	Networks []netip.Prefix
	// Taken are ranges of those networks that no machine may have.
	Taken []Taken
}

// Taken is a range of addresses, both ends included, that something else has.
type Taken struct {
	First, Last netip.Addr
	// By says what has it, as in "is the router".
	By string
}

// check says why no machine can have an address: one outside the networks is
// never reached, and one of the appliance's or of a stranger's would be two
// hosts'.
func (p *Pool) check(a netip.Addr) error {
	for _, t := range p.Taken {
		if t.First.Compare(a) <= 0 && a.Compare(t.Last) <= 0 {
			return fmt.Errorf("address %s %s: %w", a, t.By, ErrInvalid)
		}
	}
	for _, n := range p.Networks {
		if n.Contains(a) {
			if n.Bits() < 31 && (a == n.Masked().Addr() || !n.Contains(a.Next())) {
				return fmt.Errorf("address %s is the first or the last of %s, which are no host's: %w", a, n.Masked(), ErrInvalid)
			}
			return nil
		}
	}
	if len(p.Networks) == 0 {
		return nil
	}
	return fmt.Errorf("address %s is not in the provisioning network, %v: %w", a, p.Networks, ErrInvalid)
}

// freeAddress finds an address that no machine has.
func (r *Registry) freeAddress(tx *store.Tx) (netip.Addr, error) {
	if !r.pool.First.IsValid() {
		return netip.Addr{}, fmt.Errorf("no address to give: set dhcp.machines in the appliance's configuration, or the machine's address in the inventory: %w", ErrNoAddress)
	}
	for a := r.pool.First; a.IsValid() && a.Compare(r.pool.Last) <= 0; a = a.Next() {
		if r.pool.check(a) != nil {
			continue
		}
		_, err := r.t.byAddress.Get(tx, store.K(a))
		if errors.Is(err, store.ErrNotFound) {
			return a, nil
		}
		if err != nil {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is free in %s-%s: enlarge dhcp.machines in the appliance's configuration, or delete machines: %w",
		r.pool.First, r.pool.Last, ErrNoAddress)
}
