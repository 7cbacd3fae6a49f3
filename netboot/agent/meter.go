package agent

import (
	"time"

	"github.com/gantry-pod/gantry/netboot/job"
)

// meterWindow is "of late" in a rate.
const meterWindow = 5 * time.Second

// meter measures a phase's rate over the last few seconds. The zero value is
// ready.
type meter struct {
	done    int64
	samples []sample
}

type sample struct {
	at   time.Time
	done int64
}

// set records how far the phase is. Samples are at least a tenth of a second
// apart.
func (m *meter) set(now time.Time, done int64) {
	m.done = done
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < meterWindow/50 {
		return
	}
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= meterWindow {
		m.samples = m.samples[1:]
	}
}

// rate is in bytes a second, with the time that is left for total at it; both 0
// if they are not known.
func (m *meter) rate(now time.Time, total int64) (int64, job.Duration) {
	if len(m.samples) == 0 {
		return 0, 0
	}
	first := m.samples[0]
	dt := now.Sub(first.at)
	if dt <= 0 {
		return 0, 0
	}
	rate := int64(float64(m.done-first.done) / dt.Seconds())
	if rate <= 0 || total <= m.done {
		return max(rate, 0), 0
	}
	left := time.Duration(float64(total-m.done) / float64(rate) * float64(time.Second))
	return rate, job.Duration(left.Round(100 * time.Millisecond))
}
