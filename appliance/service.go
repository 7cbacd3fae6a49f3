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

// supervisor runs services and starts one again that fails: a cable that is
// pulled out of the provisioning interface must not end the metering.
type supervisor struct {
	log *slog.Logger
	wg  sync.WaitGroup

	mu      sync.Mutex // guards failing
	failing map[string]error
}

func newSupervisor(log *slog.Logger) *supervisor {
	return &supervisor{log: log, failing: map[string]error{}}
}

// start runs s until ctx ends, again after each failure, with a growing pause
// of at most 30 s.
func (v *supervisor) start(ctx context.Context, s service) {
	v.wg.Go(func() {
		for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
			began := time.Now()
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
			v.set(s.name, err)
			v.log.Error("service failed and is started again", "service", s.name, "after", pause, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			v.set(s.name, nil)
		}
	})
}

func (v *supervisor) set(name string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.failing, name)
	if err != nil {
		v.failing[name] = err
	}
}

// ready returns an error that names every service that does not run.
func (v *supervisor) ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []string
	for name, err := range v.failing {
		list = append(list, fmt.Sprintf("%s: %v", name, err))
	}
	if len(list) == 0 {
		return nil
	}
	sort.Strings(list)
	return errors.New(strings.Join(list, "; "))
}

// wait returns when all services have ended.
func (v *supervisor) wait() { v.wg.Wait() }
