package asset

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
)

const twoMachines = "pdus: [{name: p1, driver: d, address: a}]\nmachines: [{name: m1, macs: ['52:54:00:00:00:01'], power: [{pdu: p1, outlet: '1'}]}, {name: m2, macs: ['52:54:00:00:00:02']}]"

func TestAccept(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*Machine)
		want   machine.State
	}{
		"not yet inspected": {func(m *Machine) {}, machine.Discovered},
		"inspected":         {inspected, machine.Available},
		"in use":            {inState(machine.Active), machine.Active},
		"broken":            {func(m *Machine) { inspected(m); inState(machine.Broken)(m) }, machine.Broken},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustLoad("pdus: [{name: p1, driver: d, address: a}]")
			m, err := b.Discover(t.Context(), "52:54:00:00:00:01", "")
			if err != nil {
				t.Fatal(err)
			}
			b.set(m.ID, c.before)
			if err := b.Accept(t.Context(), m.ID, "acme", []Feed{{"p1", "1"}}); err != nil {
				t.Fatal(err)
			}
			m = b.machine(m.ID)
			if m.Status.State != c.want || !m.Accepted || m.Owner != "acme" || !slices.Equal(m.Power, []Feed{{"p1", "1"}}) {
				t.Errorf("%+v", m)
			}
			if err := b.Accept(t.Context(), m.ID, "", nil); err != nil {
				t.Fatal(err)
			}
			if m = b.machine(m.ID); m.Owner != "acme" || len(m.Power) != 1 {
				t.Errorf("accepted again without a word: %+v", m)
			}
		})
	}
}

func TestAcceptRefused(t *testing.T) {
	b := newBench(t)
	b.mustLoad(twoMachines)
	b.wantErr(b.Accept(t.Context(), "m2", "", []Feed{{"p1", "1"}}), ErrExists, "an outlet of another machine")
	b.wantErr(b.Accept(t.Context(), "m9", "", nil), ErrNotFound, "a machine of nowhere")
	b.wantErr(b.Accept(t.Context(), "m2", "", []Feed{{"p9", "1"}}), ErrInvalid, "a PDU of nowhere")
	b.wantErr(b.Accept(t.Context(), "m2", "", []Feed{{"p1", ""}}), ErrInvalid, "no outlet")
	b.wantErr(b.Accept(t.Context(), "m2", "", []Feed{{"p1", "7"}, {"p1", "7"}}), ErrInvalid, "an outlet twice")
	if m := b.machine("m2"); len(m.Power) != 0 {
		t.Errorf("m2: %+v", m.Power)
	}
	b.set("m1", func(m *Machine) { m.Lock = "r1" })
	b.wantErr(b.Accept(t.Context(), "m1", "", []Feed{{"p1", "9"}}), ErrLocked, "other outlets for a machine in work")
	if err := b.Accept(t.Context(), "m1", "acme", nil); err != nil {
		t.Errorf("a machine in work, its outlets left as they are: %v", err)
	}
	if m := b.machine("m1"); m.Power[0].Outlet != "1" {
		t.Errorf("m1: %+v", m.Power)
	}
}

// TestDelete: only what nobody uses can go.
func TestDelete(t *testing.T) {
	for _, s := range machine.States() {
		t.Run(string(s), func(t *testing.T) {
			b := newBench(t)
			b.mustLoad(twoMachines)
			b.set("m1", inState(s))
			free := slices.Contains([]machine.State{machine.Discovered, machine.Available, machine.Maintenance, machine.Broken}, s)
			err := b.Delete(t.Context(), "m1", false)
			if gone := !slices.Contains(b.names(), "m1"); gone != free || gone == (err != nil) {
				t.Errorf("gone %v, error %v", gone, err)
			}
			if !free {
				b.wantErr(err, ErrInUse, "delete")
			}
		})
	}
	b := newBench(t)
	b.mustLoad(twoMachines)
	b.set("m1", func(m *Machine) { m.Lock = "r1" })
	b.wantErr(b.Delete(t.Context(), "m1", true), ErrLocked, "a machine in work")
	b.wantErr(b.Delete(t.Context(), "m9", true), ErrNotFound, "a machine of nowhere")
}

// TestDeleteDirty: a machine that may hold a customer's data cannot leave the
// inventory and come back as a clean one, unless someone says that it shall go.
func TestDeleteDirty(t *testing.T) {
	for _, s := range []machine.State{machine.Broken, machine.Maintenance} {
		b := newBench(t)
		b.mustLoad(twoMachines)
		b.set("m1", func(m *Machine) { inState(s)(m); m.Dirty = true })
		err := b.Delete(t.Context(), "m1", false)
		if b.wantErr(err, ErrInUse, "dirty and "+string(s)); err == nil || !strings.Contains(err.Error(), "not wiped") {
			t.Errorf("error %v", err)
		}
		b.machine("m1")
		if err := b.Delete(t.Context(), "m1", true); err != nil || slices.Contains(b.names(), "m1") {
			t.Errorf("forced: %v", err)
		}
	}
}

// TestDirty: a machine is dirty from the moment it may be written to until a
// wipe has ended, whatever happens in between.
func TestDirty(t *testing.T) {
	b := newBench(t)
	b.mustLoad(twoMachines)
	b.set("m1", inState(machine.Available))
	for i, step := range []struct {
		kind  machine.Kind
		dirty bool
	}{
		{machine.Reserve, false}, {machine.Image, true}, {machine.Configure, true}, {machine.Verify, true}, {machine.Activate, true},
		{machine.EnterRescue, true}, {machine.LeaveRescue, true}, {machine.Break, true}, {machine.Release, true}, {machine.Wiped, false},
	} {
		b.set("m1", func(m *Machine) { m.Server = &Server{Hostname: "h"} })
		if err := b.Apply(t.Context(), "m1", machine.Event{Kind: step.kind, Reason: "r"}); err != nil {
			t.Fatal(err)
		}
		if m := b.machine("m1"); m.Dirty != step.dirty || (m.Server == nil) != (step.kind == machine.Wiped) {
			t.Errorf("step %d, %s: dirty %v, server %v", i, step.kind, m.Dirty, m.Server)
		}
	}
	err := b.Apply(t.Context(), "m1", machine.Event{Kind: machine.Activate})
	if te := (*machine.TransitionError)(nil); !errors.As(err, &te) || b.machine("m1").Status.State != machine.Available {
		t.Errorf("activated an available machine: %v", err)
	}
}

// TestChangeKeepsClaimsApart: no change by whatever package gives a machine what
// is another's.
func TestChangeKeepsClaimsApart(t *testing.T) {
	b := newBench(t)
	b.mustLoad(twoMachines)
	other := b.machine("m1")
	for name, change := range map[string]func(*Machine){
		"MAC address": func(m *Machine) { m.MACs = append(m.MACs, other.MACs...) },
		"address":     func(m *Machine) { m.Address = other.Address },
		"outlet":      func(m *Machine) { m.Power = other.Power },
	} {
		err := b.Change(t.Context(), "m2", func(_ *store.Tx, m *Machine) error { change(m); return nil })
		b.wantErr(err, ErrExists, name)
	}
}

func TestWatch(t *testing.T) {
	b := newBench(t)
	b.mustLoad(twoMachines)
	changed, stop := b.Watch()
	defer stop()
	b.set("m1", inState(machine.Active))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("a change was not told")
	}
}
