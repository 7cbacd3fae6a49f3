package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gantry-pod/gantry/lab/client"
	labpdu "github.com/gantry-pod/gantry/lab/pdu"
	"github.com/gantry-pod/gantry/lab/soak/sim"
)

// act has an event happen. The error is the soak's own trouble, not the pod's.
func (p *pod) act(ctx context.Context, n int, e event) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(e.After):
	}
	p.say("%v", e)
	if e.Machine == 0 {
		return p.actOnPod(ctx, e)
	}
	s := p.rack.slots[e.Machine-1]
	switch e.What {
	case "crash":
		s.crash()
	case "glitch":
		s.glitch()
	case "silent":
		s.order(sim.Order{Silent: e.For})
	case "lose":
		s.order(sim.Order{Lose: e.Count})
	case "double":
		s.order(sim.Order{Double: e.Count})
	case "forge":
		s.order(sim.Order{Forge: true})
	case "outlet-healthy":
		p.PDU().Fail(s.outlet, labpdu.Healthy)
	case "outlet-dead":
		p.PDU().Fail(s.outlet, labpdu.Dead)
	case "outlet-unreadable":
		p.PDU().Fail(s.outlet, labpdu.Unreadable)
	case "outlet-error-but-done":
		p.PDU().Fail(s.outlet, labpdu.ErrorButDone)
	case "outlet-refusing":
		p.PDU().Fail(s.outlet, labpdu.Refusing)
	case "outlet-stuck":
		p.PDU().Fail(s.outlet, labpdu.Stuck)
	case "cancel":
		return p.cancel(ctx, s.spec.Name)
	case "use":
		return p.use(ctx, s.spec.Name, n, e.Count)
	default:
		return p.request(ctx, s.spec.Name, e.What, fmt.Sprintf("event-%d", n))
	}
	return nil
}

// uses are what suits a machine in a state.
var uses = map[string][]string{
	"available": {"deploy"}, "active": {"release", "restart", "rescue", "stop", "start"}, "rescue": {"unrescue", "release"},
	"maintenance": {"restore"}, "broken": {"release", "maintain", "release"}, "discovered": {"inspect"},
}

// use asks of a machine what suits it as it stands, one of several by choice.
func (p *pod) use(ctx context.Context, name string, n, choice int) error {
	var state string
	_, err := p.answered(ctx, func(ctx context.Context) (client.Request, error) {
		m, err := p.api.Machine(ctx, name)
		if m.Lock == "" {
			state = m.Status.State
		}
		return client.Request{}, err
	})
	verbs := uses[state]
	if err != nil || len(verbs) == 0 {
		return err
	}
	verb := verbs[choice%len(verbs)]
	p.say("    %s is %s: %s", name, state, verb)
	return p.request(ctx, name, verb, fmt.Sprintf("event-%d", n))
}

func (p *pod) actOnPod(ctx context.Context, e event) error {
	switch e.What {
	case "kill-appliance":
		if err := p.KillAppliance(ctx); err != nil {
			return err
		}
		time.Sleep(e.For / 4)
		return p.StartAppliance()
	case "pdu-silent":
		p.PDU().FailWire(labpdu.WireFault{Silent: true})
	case "pdu-slow":
		p.PDU().FailWire(labpdu.WireFault{Slow: e.For / 2})
	case "pdu-lose-replies":
		p.PDU().FailWire(labpdu.WireFault{LoseReplies: e.Count})
	case "pdu-lose-set-replies":
		p.PDU().FailWire(labpdu.WireFault{LoseSetReplies: e.Count})
	case "pdu-healthy":
		p.PDU().FailWire(labpdu.WireFault{})
	case "image-altered":
		return p.alter(true)
	case "image-whole":
		return p.alter(false)
	default:
		return fmt.Errorf("event %q is not known", e.What)
	}
	return nil
}

// request gives a change request, again under the same key until it is
// answered. That a machine cannot do it now is an answer.
func (p *pod) request(ctx context.Context, name, verb, key string) error {
	var spec any
	switch verb {
	case "deploy":
		spec = map[string]any{"image": "soak", "hostname": name + "-" + key, "ssh_keys": []string{p.key}}
	case "rescue":
		spec = map[string]any{"ssh_keys": []string{p.key}}
	case "maintain":
		spec = map[string]any{"reason": "the soak says so"}
	}
	r, err := p.answered(ctx, func(ctx context.Context) (client.Request, error) {
		if verb == "maintain" { // done at once, without a request
			return client.Request{}, p.api.Call(ctx, http.MethodPost, "/v1/machines/"+name+"/maintain", spec, nil)
		}
		return p.api.Submit(ctx, name, verb, spec, key)
	})
	var refused *client.Refused
	if errors.As(err, &refused) && refused.Status < 500 {
		p.say("    refused: %s", refused.Detail)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", verb, name, err)
	}
	p.say("    request %s", r.ID)
	if verb == "release" || verb == "restore" {
		p.noteReleased(name, time.Now())
	}
	return nil
}

// noteReleased remembers that what is on a machine's disk must not start again.
func (p *pod) noteReleased(name string, at time.Time) {
	for _, s := range p.rack.slots {
		if s.spec.Name != name {
			continue
		}
		for _, e := range s.seen() {
			if e.Instance != "" {
				p.mu.Lock()
				if p.released[e.Instance].IsZero() {
					p.released[e.Instance] = at
				}
				p.mu.Unlock()
			}
		}
		if now, err := sim.ReadSystem(s.spec.Disk); err == nil && now != nil {
			p.mu.Lock()
			if p.released[now.Instance].IsZero() {
				p.released[now.Instance] = at
			}
			p.mu.Unlock()
		}
	}
}

// cancel cancels what is being done to a machine, if something is.
func (p *pod) cancel(ctx context.Context, name string) error {
	var refused *client.Refused
	_, err := p.answered(ctx, func(ctx context.Context) (client.Request, error) {
		m, err := p.api.Machine(ctx, name)
		if err != nil || m.Lock == "" {
			return client.Request{}, err
		}
		p.say("    cancels %s", m.Lock)
		return client.Request{}, p.api.Cancel(ctx, m.Lock)
	})
	if errors.As(err, &refused) && refused.Status < 500 {
		p.say("    refused: %s", refused.Detail)
		return nil
	}
	return err
}

// answered repeats a call until the appliance answers: it may be dead.
func (p *pod) answered(ctx context.Context, call func(context.Context) (client.Request, error)) (client.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := call(ctx)
		var refused *client.Refused
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return r, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
