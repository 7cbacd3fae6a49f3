package snmp

import (
	"context"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

// SNMPv2-MIB's system group, RFC 3418.
const (
	sysDescr    = "1.3.6.1.2.1.1.1.0"
	sysObjectID = "1.3.6.1.2.1.1.2.0"
	sysName     = "1.3.6.1.2.1.1.5.0"
)

// foundFor is how long a device is taken to be what it was found to be: one
// may be exchanged for another at the same address.
const foundFor = time.Minute

// identify finds out which family the device speaks, by asking.
func (s *session) identify(ctx context.Context, all []family) (*found, error) {
	if f := s.remembered(); f != nil {
		return f, nil
	}
	system, err := s.get(ctx, []string{sysObjectID, sysDescr, sysName})
	if err != nil {
		return nil, err
	}
	object := strings.TrimPrefix(text(system[sysObjectID]), ".")
	for i := range all {
		f := &all[i]
		if !f.speaks(object) {
			continue
		}
		has, err := s.has(ctx, f.status)
		if err != nil {
			return nil, err
		}
		if has {
			return s.remember(ctx, f, system)
		}
	}
	return nil, device.Errorf(device.Unsupported, "PDU %s: sysObjectID %q, sysDescr %q: no switched outlets in any family that this driver speaks",
		s.name, object, text(system[sysDescr]))
}

// has says whether a column has any row.
func (s *session) has(ctx context.Context, column string) (bool, error) {
	answer, err := s.exchange(ctx, func(g *gosnmp.GoSNMP) (*gosnmp.SnmpPacket, error) { return g.GetNext([]string{column}) })
	if err != nil {
		return false, err
	}
	if answer.Error == gosnmp.NoSuchName {
		return false, nil // version 1's end of the MIB
	}
	if answer.Error != gosnmp.NoError || len(answer.Variables) != 1 {
		return false, s.refusal("tell its tables", answer.Error)
	}
	v := answer.Variables[0]
	return exists(v) && under(column, strings.TrimPrefix(v.Name, ".")), nil
}

// remember reads who the device says it is.
func (s *session) remember(ctx context.Context, f *family, system variables) (*found, error) {
	var oids []string
	for _, oid := range []string{f.model, f.serial, f.firmware} {
		if oid != "" {
			oids = append(oids, oid)
		}
	}
	told, err := s.get(ctx, oids)
	if err != nil {
		return nil, err
	}
	result := &found{family: f, at: time.Now(), identity: device.Identity{
		Vendor: f.vendor, Family: f.name, Name: text(system[sysName]),
		Model: text(told[f.model]), Serial: text(told[f.serial]), Firmware: text(told[f.firmware]),
		CanSet: true, CanCycle: f.cycle != 0, TellsMoves: f.pending != "", ParallelCalls: 1,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = result
	return result, nil
}

func (s *session) remembered() *found {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil && time.Since(s.found.at) < foundFor {
		return s.found
	}
	return nil
}
