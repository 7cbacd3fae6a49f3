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
		if err := v.ready(); err == nil || err.Error() != "flaky: cable pulled" {
			t.Errorf("ready: %v", err)
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
