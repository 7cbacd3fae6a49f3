package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
)

// tally counts how requests ended.
type tally map[string]int

// failure is what did not hold in one play of a list of events.
type failure struct {
	broken  []string
	history []string
}

// Error implements error.
func (f *failure) Error() string { return "  " + strings.Join(f.broken, "\n  ") }

// The time that a pod has to come to rest, and each machine to be brought back.
const restWithin = 4 * time.Minute

// play has the events happen to a new pod and says what did not hold.
func play(ctx context.Context, c config, seed uint64, events []event) (tally, error) {
	dir := filepath.Join(c.dir, fmt.Sprintf("seed%d", seed))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	p, err := newPod(ctx, c, seed, dir)
	if err != nil {
		return nil, err
	}
	total, err := p.play(ctx, events)
	err = errors.Join(err, p.close(ctx))
	if err == nil && len(p.broken) > 0 {
		return total, &failure{p.broken, p.history}
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	return total, err
}

// play is the events, the rest, a temptation and the way back, with all checks.
func (p *pod) play(ctx context.Context, events []event) (tally, error) {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(watching) })
	err := p.events(ctx, events)
	stop()
	watch.Wait()
	if err != nil {
		return nil, err
	}
	if err := p.mend(ctx); err != nil {
		return nil, err
	}
	total := p.rest(ctx)
	if len(p.broken) == 0 {
		p.checkMachines(ctx)
	}
	if len(p.broken) == 0 {
		p.tempt(ctx)
	}
	if len(p.broken) == 0 {
		p.bringBack(ctx)
	}
	p.checkEvents(ctx)
	return total, ctx.Err()
}

func (p *pod) events(ctx context.Context, events []event) error {
	for n, e := range events {
		if err := p.act(ctx, n, e); err != nil {
			return fmt.Errorf("event %d, %v: %w", n, e, err)
		}
	}
	return nil
}

// mend ends all faults that last.
func (p *pod) mend(ctx context.Context) error {
	p.say("all faults end")
	p.PDU().FailWire(labpdu.WireFault{})
	for _, s := range p.rack.slots {
		p.PDU().Fail(s.outlet, labpdu.Healthy)
	}
	return errors.Join(p.alter(false), p.StartAppliance(), p.api.Ready(ctx))
}

// rest waits until every request has ended and counts them.
func (p *pod) rest(ctx context.Context) tally {
	ctx, cancel := context.WithTimeout(ctx, restWithin)
	defer cancel()
	for {
		total, open := tally{}, []string{}
		list, err := p.api.Requests(ctx, "", 1000)
		for _, r := range list {
			total[r.Status]++
			if !r.Ended() {
				open = append(open, fmt.Sprintf("%s (%s of %s)", r.ID, r.Kind, r.Machine))
			}
		}
		if err == nil && len(open) == 0 {
			return total
		}
		select {
		case <-ctx.Done():
			p.violate("requests that do not end within %v: %v (%v)", restWithin, open, err)
			return total
		case <-time.After(200 * time.Millisecond):
		}
	}
}
