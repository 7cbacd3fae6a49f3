package alert

import (
	"context"
	"time"
)

// Bounds of what is posted: strangers on the wire can bring it about as often
// as they like.
const (
	postQueue = 64          // wait to be recorded
	postAgain = time.Minute // between two of the same trouble
	postKnown = 4096        // troubles that are remembered for that
)

// Post has an alert raised by Run, for callers that must not wait for the store
// and for troubles that whoever is on the wire can cause: the same trouble of
// the same subject is raised at most once a minute, so its count is that of the
// minutes. If too much waits already it is only logged.
func (d *Desk) Post(a Alert) {
	key, now := a.Code+" "+a.Subject, d.now()
	d.mu.Lock()
	last, known := d.posted[key]
	fresh := !known || now.Sub(last) >= postAgain
	if fresh {
		if len(d.posted) >= postKnown {
			clear(d.posted)
		}
		d.posted[key] = now
	}
	d.mu.Unlock()
	if !fresh {
		return
	}
	select {
	case d.queue <- a:
	default:
		d.log.Error("alert dropped: too many wait", "code", a.Code, "subject", a.Subject, "detail", a.Detail)
	}
}

// record raises what was posted until ctx ends.
func (d *Desk) record(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-d.queue:
			// Raise logs what it cannot record.
			_ = d.Raise(ctx, a)
		}
	}
}
