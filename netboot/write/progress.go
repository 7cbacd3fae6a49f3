package write

import (
	"sync/atomic"
	"time"
)

const progressEvery = 200 * time.Millisecond

// watch reports a counter until stop is called, and once more then.
func watch(report func(Progress), phase string, done *atomic.Int64, total int64) (stop func()) {
	if report == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				report(Progress{phase, done.Load(), total})
			case <-quit:
				report(Progress{phase, done.Load(), total})
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
