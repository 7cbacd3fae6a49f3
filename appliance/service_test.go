package appliance

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSupervisor: a service that fails is started again after a growing pause,
// the others go on, and readiness says which one fails and why.
func TestSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newSupervisor(slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		began := time.Now()
		var starts []time.Duration
		v.start(ctx, service{"flaky", func(ctx context.Context) error {
			starts = append(starts, time.Since(began))
			switch len(starts) {
			case 1, 2, 3:
				return errors.New("cable pulled")
			case 4:
				return nil // as bad: it was to go on
			}
			<-ctx.Done()
			return ctx.Err()
		}})
		v.start(ctx, service{"steady", func(ctx context.Context) error { <-ctx.Done(); return nil }})
		synctest.Wait()
		if err := v.ready(); err == nil || err.Error() != "flaky: cable pulled; steady: is starting" {
			t.Errorf("ready at once: %v", err)
		}
		time.Sleep(settled)
		if err := v.ready(); err == nil || err.Error() != "flaky: cable pulled" {
			t.Errorf("ready: %v", err)
		}
		time.Sleep(time.Second - settled) // it is started again
		synctest.Wait()
		if err := v.ready(); err == nil || err.Error() != "flaky: cable pulled" {
			t.Errorf("ready while it is tried again: %v", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := v.ready(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
			t.Errorf("ready: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := v.ready(); err != nil {
			t.Errorf("ready after it recovered: %v", err)
		}
		stop()
		v.wait()
		for i, want := range []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second} {
			if i >= len(starts) || starts[i] != want {
				t.Fatalf("started at %v", starts)
			}
		}
		if len(starts) != 5 {
			t.Errorf("started %d times", len(starts))
		}
	})
}

// TestAnnounce: the appliance says that it is up when its services run, and not
// before; a service that never comes up does not keep it silent for ever.
func TestAnnounce(t *testing.T) {
	for name, c := range map[string]struct {
		fails int // of the service's starts
		want  time.Duration
	}{
		"at once":  {0, 500 * time.Millisecond},
		"late":     {2, 3500 * time.Millisecond},
		"not ever": {1000, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newSupervisor(slog.New(slog.DiscardHandler))
				ctx, stop := context.WithCancel(t.Context())
				began, starts := time.Now(), 0
				v.start(ctx, service{"dhcp", func(ctx context.Context) error {
					if starts++; starts <= c.fails {
						return errors.New("port 67 is taken")
					}
					<-ctx.Done()
					return nil
				}})
				told := make(chan time.Duration, 1)
				v.announce(ctx, 30*time.Second, func() { told <- time.Since(began) })
				if at := <-told; at < c.want || at > c.want+settled/5 {
					t.Errorf("told after %s, want %s", at, c.want)
				}
				stop()
				v.wait()
			})
		})
	}
}
