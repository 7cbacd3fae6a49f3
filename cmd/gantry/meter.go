package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gantry-pod/gantry/appliance/api"
)

// meterEvery is how often a meter on a terminal changes.
const meterEvery = 200 * time.Millisecond

// meter shows how much of something long is done: on a terminal live, else in a
// line every ten seconds. It is for one goroutine at a time.
type meter struct {
	app         *app
	doing       string
	tty         bool
	began, last time.Time
}

func (a *app) newMeter(doing string) *meter {
	now := a.now()
	return &meter{app: a, doing: doing, tty: isTerminal(a.err), began: now, last: now}
}

// show shows bytes done; total is 0 if it is not known.
func (m *meter) show(done, total int64) {
	now, interval := m.app.now(), plainInterval
	if m.tty {
		interval = meterEvery
	}
	if now.Sub(m.last) < interval {
		return
	}
	m.last = now
	text := fmt.Sprintf("%s  %s", m.doing, size(done))
	if total > 0 {
		text = fmt.Sprintf("%s %3d %%  %s of %s", m.doing, done*100/total, size(done), size(total))
	}
	text += fmt.Sprintf("  %s/s", size(int64(float64(done)/now.Sub(m.began).Seconds())))
	if m.tty {
		fmt.Fprint(m.app.err, "\r\x1b[K  ", text)
	} else {
		fmt.Fprintln(m.app.err, text)
	}
}

func (m *meter) clear() {
	if m.tty {
		fmt.Fprint(m.app.err, "\r\x1b[K")
	}
}

// meteredReader shows how much of an upload is done.
type meteredReader struct {
	r           io.Reader
	done, total int64
	meter       *meter
}

// Read implements io.Reader.
func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	m.meter.show(m.done, m.total)
	return n, err
}

// watchTransfer shows how far the appliance is with importing or verifying an
// image, until stop is called. An appliance that does not say is not insisted on.
func (a *app) watchTransfer(ctx context.Context, c *client, image, doing string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		m := a.newMeter(doing)
		defer m.clear()
		tick := time.NewTicker(meterEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var list []api.Transfer
			if c.call(ctx, http.MethodGet, "/v1/transfers", nil, &list) != nil {
				continue
			}
			for _, t := range list {
				if t.Doing == doing && (t.Image == image || strings.HasPrefix(t.Image, image+":")) {
					m.show(t.Done, t.Total)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
