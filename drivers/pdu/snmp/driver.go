// Package snmp drives power distribution units over SNMP v1, v2c and v3. What
// is particular to a brand is data (family.go); the code knows only SNMP and
// how to be honest about an outlet: success is said after reading back, also
// when the device answered an error, and a value that nobody understands is
// unknown, never off.
package snmp

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
	"github.com/gantry-pod/gantry/plugins/sdk"
)

// Version is the driver's own version.
const Version = "0.1.0"

const (
	// maxSessions is from how many devices on idle sessions are closed.
	maxSessions = 1024
	idleAfter   = 2 * time.Minute
)

// Driver returns the driver, ready to be served.
func Driver() sdk.Driver {
	d := &driver{families: families(), sessions: map[[sha256.Size]byte]*session{}}
	return sdk.Driver{
		Name: "pdu-snmp", Vendor: "Gantry", Version: Version,
		ConfigSchema: schema, Validate: validate, Probe: d.Probe, PDU: d,
	}
}

// driver serves many devices; a session is a cache and may be lost any time.
type driver struct {
	families []family

	mu       sync.Mutex // guards sessions
	sessions map[[sha256.Size]byte]*session
}

func validate(t device.Target) error {
	_, err := parseTarget(t)
	return err
}

// open returns the session of a target.
func (d *driver) open(t device.Target) (*session, error) {
	key := sha256.Sum256(append([]byte(t.Address+"\x00"), t.Config...))
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[key]; s != nil {
		return s, nil
	}
	cfg, err := parseTarget(t)
	if err != nil {
		return nil, device.Errorf(device.Rejected, "PDU %s: %w", t.Name, err)
	}
	if len(d.sessions) >= maxSessions {
		d.closeIdle()
	}
	s := newSession(cfg, t)
	d.sessions[key] = s
	return s, nil
}

// closeIdle closes sessions that nobody uses; d.mu is held.
func (d *driver) closeIdle() {
	for key, s := range d.sessions {
		select {
		case s.turn <- struct{}{}:
			if time.Since(s.used) > idleAfter {
				s.drop()
				delete(d.sessions, key)
			}
			<-s.turn
		default: // in use
		}
	}
}

// device returns a target's session and what it was found to be.
func (d *driver) device(ctx context.Context, t device.Target) (*session, *found, error) {
	s, err := d.open(t)
	if err != nil {
		return nil, nil, err
	}
	f, err := s.identify(ctx, d.families)
	if err != nil {
		return nil, nil, err
	}
	return s, f, nil
}

// Probe asks the device who it is.
func (d *driver) Probe(ctx context.Context, t device.Target) (device.Identity, error) {
	s, f, err := d.device(ctx, t)
	if err != nil {
		return device.Identity{}, err
	}
	rows, err := s.walk(ctx, []string{f.family.status})
	if err != nil {
		return device.Identity{}, err
	}
	id := f.identity
	id.Outlets = len(rows)
	return id, nil
}

// ListOutlets walks the family's tables.
func (d *driver) ListOutlets(ctx context.Context, t device.Target) ([]device.Outlet, error) {
	s, f, err := d.device(ctx, t)
	if err != nil {
		return nil, err
	}
	var columns []string
	for _, c := range []string{f.family.status, f.family.pending, f.family.label, f.family.bank, f.family.number} {
		if c != "" {
			columns = append(columns, c)
		}
	}
	rows, err := s.walk(ctx, columns)
	if err != nil {
		return nil, err
	}
	var outlets []device.Outlet
	for index, row := range rows {
		if _, listed := row[f.family.status]; listed && f.family.validIndex(index) {
			outlets = append(outlets, f.family.outlet(index, row))
		}
	}
	slices.SortFunc(outlets, func(a, b device.Outlet) int { return compareOID(a.ID, b.ID) })
	return outlets, nil
}

// GetOutlets reads many outlets with few requests.
func (d *driver) GetOutlets(ctx context.Context, t device.Target, ids []string) ([]device.Reading, error) {
	s, f, err := d.device(ctx, t)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, f.family, ids)
}

// read reads outlets by ID.
func (s *session) read(ctx context.Context, f *family, ids []string) ([]device.Reading, error) {
	var oids []string
	for _, id := range ids {
		if !f.validIndex(id) {
			continue
		}
		oids = append(oids, f.status+"."+id)
		if f.pending != "" {
			oids = append(oids, f.pending+"."+id)
		}
	}
	values, err := s.get(ctx, oids)
	if err != nil {
		return nil, err
	}
	readings := make([]device.Reading, len(ids))
	for i, id := range ids {
		readings[i].ID = id
		status, ok := values[f.status+"."+id]
		if !ok {
			readings[i].Err = device.Errorf(device.NotFound, "PDU %s: it has no outlet %q", s.name, id)
			continue
		}
		readings[i].State = f.state(status, values[f.pending+"."+id])
	}
	return readings, nil
}

// state reads one outlet.
func (s *session) state(ctx context.Context, f *family, id string) (device.State, error) {
	readings, err := s.read(ctx, f, []string{id})
	if err != nil {
		return device.StateUnknown, err
	}
	if readings[0].Err != nil {
		return device.StateUnknown, readings[0].Err
	}
	return readings[0].State, nil
}
