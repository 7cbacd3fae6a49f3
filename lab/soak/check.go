package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gantry-pod/gantry/lab/client"
	"github.com/gantry-pod/gantry/lab/soak/sim"
)

// watch looks, while things happen, for what must not be at any moment.
func (p *pod) watch(ctx context.Context) {
	suspects := map[string]int{} // how often in a row a complaint was seen
	for ctx.Err() == nil {
		now := map[string]int{}
		for _, complaint := range p.complaints(ctx) {
			now[complaint] = suspects[complaint] + 1
			if now[complaint] == 4 { // the two lists are not of one moment
				p.violate("on the way: %s", complaint)
			}
		}
		suspects = now
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// complaints compares locks with requests. It has none while the appliance is
// away.
func (p *pod) complaints(ctx context.Context) (all []string) {
	machines, err := p.api.Machines(ctx)
	if err != nil {
		return nil
	}
	requests, err := p.api.Requests(ctx, "", 1000)
	if err != nil {
		return nil
	}
	open := map[string]string{} // machine by request
	has := map[string]string{}
	for _, r := range requests {
		if r.Ended() {
			continue
		}
		open[r.ID] = r.Machine
		if has[r.Machine] != "" {
			all = append(all, fmt.Sprintf("machine %s has the requests %s and %s", r.Machine, has[r.Machine], r.ID))
		}
		has[r.Machine] = r.ID
	}
	for _, m := range machines {
		if m.Lock != "" && open[m.Lock] != m.ID {
			all = append(all, fmt.Sprintf("machine %s is locked by %s, which is not open", m.ID, m.Lock))
		}
		if m.Lock == "" && has[m.ID] != "" {
			all = append(all, fmt.Sprintf("request %s is open and machine %s is not locked", has[m.ID], m.ID))
		}
	}
	return all
}

// checkMachines compares where the machines stand, at rest, with their disks.
func (p *pod) checkMachines(ctx context.Context) {
	machines, err := p.api.Machines(ctx)
	if err != nil {
		p.violate("the machines cannot be listed: %v", err)
	}
	alerts, err := p.api.Alerts(ctx)
	if err != nil {
		p.violate("the alerts cannot be listed: %v", err)
	}
	for _, c := range p.complaints(ctx) {
		p.violate("at rest: %s", c)
	}
	for _, m := range machines {
		s := p.slot(m.ID)
		switch m.Status.State {
		case "available":
			if m.Dirty {
				p.violate("machine %s is available and dirty", m.ID)
			}
			if at, zero := firstNonZero(s.spec.Disk); !zero {
				p.violate("machine %s is available and its disk is not zero at byte %d", m.ID, at)
			}
		case "active", "rescue":
			p.checkSystem(ctx, m, s)
		case "broken":
			if m.Status.Reason == "" {
				p.violate("machine %s is broken and nothing says why", m.ID)
			}
			p.checkAlerted(ctx, m, alerts)
		case "maintenance", "discovered":
		default:
			p.violate("machine %s is %s at rest: %s", m.ID, m.Status.State, m.Status.Reason)
		}
	}
}

// checkAlerted looks for the alert that calls someone to a broken machine: of
// this trouble, not of one before it. It names the request that broke it, or it
// was raised when the machine broke.
func (p *pod) checkAlerted(ctx context.Context, m client.Machine, alerts []client.Alert) {
	list, err := p.api.Requests(ctx, m.ID, 1) // the newest; only a request breaks a machine
	if err != nil {
		p.violate("requests of %s: %v", m.ID, err)
		return
	}
	if !slices.ContainsFunc(alerts, func(a client.Alert) bool { return alerted(m, list, a) }) {
		p.violate("machine %s is broken since %s (%s) and nobody was alerted; its last request is %+v, the alerts are %+v",
			m.ID, m.Status.Since.Format("15:04:05.000"), m.Status.Reason, list, alerts)
	}
}

// alerted says whether an alert is about a machine's breaking.
func alerted(m client.Machine, newest []client.Request, a client.Alert) bool {
	if len(newest) == 1 && newest[0].Status == "failed" && a.Request == newest[0].ID {
		return true
	}
	return a.Subject == "machine/"+m.ID && !a.Last.Before(m.Status.Since)
}

// checkSystem compares an active machine's disk with the image, and the system
// on it with the machine's last deployment.
func (p *pod) checkSystem(ctx context.Context, m client.Machine, s *slot) {
	b, err := os.ReadFile(s.spec.Disk)
	if err != nil || len(b) < len(p.image) || !bytes.Equal(b[:len(p.image)], p.image) {
		p.violate("machine %s is %s and its disk is not the image (%v)", m.ID, m.Status.State, err)
		return
	}
	list, err := p.api.Requests(ctx, m.ID, 100)
	if err != nil {
		p.violate("requests of %s: %v", m.ID, err)
		return
	}
	for _, r := range list { // newest first
		if r.Kind != "deploy" || r.Status != "done" {
			continue
		}
		if sys, err := sim.ReadSystem(s.spec.Disk); err != nil || sys == nil || sys.Instance != r.ID || m.Server == nil || sys.Hostname != m.Server.Hostname {
			p.violate("machine %s is %s by deployment %s and on its disk is %+v (%v)", m.ID, m.Status.State, r.ID, sys, err)
		}
		return
	}
	p.violate("machine %s is %s and no deployment of it is done", m.ID, m.Status.State)
}

// bootWithin is more than a machine takes from power-on to its disk.
const bootWithin = 3 * time.Second

// tempt presses the buttons of all machines that carry no server, at rest: none
// of them may start what is on its disk.
func (p *pod) tempt(ctx context.Context) {
	machines, err := p.api.Machines(ctx)
	if err != nil {
		p.violate("the machines cannot be listed: %v", err)
	}
	tempted := map[*slot]string{}
	for _, m := range machines {
		if m.Status.State != "active" && m.Status.State != "rescue" {
			s := p.slot(m.ID)
			tempted[s] = m.Status.State
			p.PDU().Press(s.outlet, false)
			p.PDU().Press(s.outlet, true)
		}
	}
	began := time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(bootWithin):
	}
	for s, state := range tempted {
		p.PDU().Press(s.outlet, false)
		for _, e := range s.seen() {
			if e.What != sim.Intruded && e.At.After(began) {
				p.violate("machine %s is %s, and when it was switched on it was let through to its disk (%s %s)", s.spec.Name, state, e.What, e.Instance)
			}
		}
	}
}

// bringBack ends every machine's use: with all faults mended each must come to
// be available, zero and off.
func (p *pod) bringBack(ctx context.Context) {
	machines, err := p.api.Machines(ctx)
	if err != nil {
		p.violate("the machines cannot be listed: %v", err)
	}
	for _, m := range machines {
		verb := map[string]string{"active": "release", "rescue": "release", "broken": "release", "maintenance": "restore", "discovered": "inspect"}[m.Status.State]
		if verb == "" {
			continue
		}
		p.say("bring %s back, which is %s (%s): %s", m.ID, m.Status.State, m.Status.Reason, verb)
		if err := p.request(ctx, m.ID, verb, "back-"+m.ID); err != nil {
			p.violate("bring %s back: %v", m.ID, err)
		}
	}
	p.rest(ctx)
	if machines, err = p.api.Machines(ctx); err != nil {
		p.violate("the machines cannot be listed: %v", err)
	}
	for _, m := range machines {
		s := p.slot(m.ID)
		at, zero := firstNonZero(s.spec.Disk)
		if m.Status.State != "available" || m.Lock != "" || m.Dirty || !zero || p.PDU().Outlet(s.outlet) {
			p.violate("machine %s does not come back: %s (%s), lock %q, dirty %v, first byte that is not zero %d, outlet on %v",
				m.ID, m.Status.State, m.Status.Reason, m.Lock, m.Dirty, at, p.PDU().Outlet(s.outlet))
		}
	}
}

// noteFailed remembers that the systems of deployments that did not succeed must
// not start after their end.
func (p *pod) noteFailed(ctx context.Context) {
	list, err := p.api.Requests(ctx, "", 1000)
	if err != nil {
		p.violate("requests: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range list {
		if r.Kind == "deploy" && r.Ended() && r.Status != "done" {
			p.released[r.ID] = r.EndedAt
		}
	}
}

// checkEvents looks at what the machines wrote down.
func (p *pod) checkEvents(ctx context.Context) {
	p.noteFailed(ctx)
	for _, s := range p.rack.slots {
		s.mu.Lock()
		if s.trouble != nil {
			p.violate("%v", s.trouble)
		}
		s.mu.Unlock()
		for _, e := range s.seen() {
			p.mu.Lock()
			released := p.released[e.Instance]
			p.mu.Unlock()
			switch {
			case e.What == sim.Intruded:
				p.violate("machine %s got in with %s", s.spec.Name, e.Detail)
			case e.What == sim.StartedDisk && !released.IsZero() && e.At.After(released):
				p.violate("machine %s started instance %s at %s, released or failed at %s", s.spec.Name, e.Instance, e.At, released)
			}
		}
	}
}

func (p *pod) slot(name string) *slot {
	for _, s := range p.rack.slots {
		if s.spec.Name == name {
			return s
		}
	}
	return nil
}

// firstNonZero says where a disk is not zero; true if nowhere.
func firstNonZero(path string) (int, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1, false
	}
	for i, c := range b {
		if c != 0 {
			return i, false
		}
	}
	return -1, len(b) == diskBytes
}
