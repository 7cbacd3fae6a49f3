package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"
)

// service is a part of the appliance that runs until its context ends.
type service struct {
	name string
	run  func(ctx context.Context) error
}

// settled is how long a service runs until it counts as one that does: what
// cannot bind its port, or finds no interface, ends at once.
const settled = 500 * time.Millisecond

// supervisor runs services and starts one again that fails: a cable that is
// pulled out of the provisioning interface must not end the metering.
type supervisor struct {
	log *slog.Logger
	wg  sync.WaitGroup

	mu     sync.Mutex // guards states
	states map[string]state
}

// state is where a service stands: when it was started, or zero if it does not
// run, and why it failed last.
type state struct {
	began time.Time
	err   error
}

func newSupervisor(log *slog.Logger) *supervisor {
	return &supervisor{log: log, states: map[string]state{}}
}

// start runs s until ctx ends, again after each failure, with a growing pause
// of at most 30 s.
func (v *supervisor) start(ctx context.Context, s service) {
	began := time.Now()
	v.set(s.name, state{began: began})
	v.wg.Go(func() {
		for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
			err := s.run(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("it ended by itself")
			}
			if time.Since(began) > time.Minute {
				pause = time.Second
			}
			v.set(s.name, state{err: err})
			v.log.Error("service failed and is started again", "service", s.name, "after", pause, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			began = time.Now()
			v.set(s.name, state{began, err})
		}
	})
}

func (v *supervisor) set(name string, s state) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states[name] = s
}

// ready returns an error that names every service that does not run.
func (v *supervisor) ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []string
	for name, s := range v.states {
		switch {
		case !s.began.IsZero() && time.Since(s.began) >= settled:
		case s.err != nil:
			list = append(list, fmt.Sprintf("%s: %v", name, s.err))
		default:
			list = append(list, name+": is starting")
		}
	}
	if len(list) == 0 {
		return nil
	}
	sort.Strings(list)
	return errors.New(strings.Join(list, "; "))
}

// announce calls tell once all services run, or when they have had most to come
// up: what waits for the appliance must not end it for want of a cable.
func (v *supervisor) announce(ctx context.Context, most time.Duration, tell func()) {
	v.wg.Go(func() {
		late := time.After(most)
		for v.ready() != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(settled / 5):
				continue
			case <-late:
			}
			v.log.Warn("appliance says that it is up, though not all of it runs", "error", v.ready())
			break
		}
		tell()
	})
}

// wait returns when all services have ended.
func (v *supervisor) wait() { v.wg.Wait() }
