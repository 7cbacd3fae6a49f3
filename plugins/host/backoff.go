package host

import "time"

// recovered is how long a driver must run for its earlier failures to be
// forgotten.
const recovered = time.Minute

// backoff decides how long to wait before a driver is launched again. It is a
// value without a clock: failures go in, waits come out.
type backoff struct {
	first, most time.Duration
	breakAfter  int
	cooldown    time.Duration

	failures int // in a row
}

// failed takes one failure after the driver ran for ran. It returns the wait,
// and whether the circuit is open: the driver is then given up until the wait
// is over, and gets one try.
func (b *backoff) failed(ran time.Duration) (wait time.Duration, open bool) {
	if ran >= recovered {
		b.failures = 0
	}
	b.failures++
	if b.failures >= b.breakAfter {
		return b.cooldown, true
	}
	wait = b.first
	for range b.failures - 1 {
		wait = min(2*wait, b.most)
	}
	return wait, false
}
